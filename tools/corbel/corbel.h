/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The corbel tool: what its files share. Failures are told on stderr where they are noticed: what,
 * why, what to do.
 */
#ifndef TOOLS_CORBEL_CORBEL_H
#define TOOLS_CORBEL_CORBEL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include "../../dom0/kmod/devctl.h"
#include "../../hv/abi.h"
#include "cfg.h"

struct json_object;

/* ---- main.c ---- */
struct opts {
	const char *accel, *ssh, *key, *user_data, *bridge;
	bool json, all, attach, follow, wait, batch, check, keep, paused, verbose, no_start;
	bool foreground, destroy;
	long iterations, timeout, vcpu; /* vcpu -1 = all */
	long size, memory, vcpus;	/* GiB, MiB; 0 = as usual */
	double delay;
	unsigned int weight, cap;    /* 0 = leave */
	unsigned int period, budget; /* us, 0 = leave */
	struct corbel_cpus cpus;     /* empty = leave */
	char **args;
	int nargs;
};
const char *run_dir(void); /* /run/corbel */
const char *etc_dir(void); /* /etc/corbel */
const char *lib_dir(void); /* /var/lib/corbel */

/* ---- say.c ---- */
/* Control characters become '?', but for line ends and tabs if asked. Returns text. */
char *printable(char *text, bool lines);
/* "corbel: ..." on stderr; fail() returns 1, the exit code of a failed command. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *failure_text(void);		     /* what fail() has told last, or "" */
void print_json(struct json_object *o);	     /* takes it over */
void print_json_line(struct json_object *o); /* the same, as one line of many */
bool json_was_printed(void);
/* A member more; NULL is null. */
void add_str(struct json_object *o, const char *key, const char *val);
void add_u64(struct json_object *o, const char *key, uint64_t val);

/* ---- hvctl.c: /dev/corbel ---- */
bool hv_present(void);
/* 0, or -1 told. All of these open the device when first used. */
int hv_need(void);
int hv_info(struct corbel_info *info);
/* All entries of CORBEL_STAT_what, each of size bytes, in *out (malloc). Count, or -1 told. */
int hv_all(uint32_t what, size_t size, void *out);
/* Bytes of text from *seq on into buf, and *seq moves on. 0 at the end, -1 told. */
int hv_log(uint64_t *seq, char *buf, size_t size);
/* v: whose number that is, for errors. 0, or -1 told, as of the next */
int hv_sched(const struct corbel_sched_set *s, const struct corbel_vcpu_stat *v);
int hv_sched_vm(const struct corbel_sched_vm *s);
/* 0, or -1 (errno; not told). hv_need() first. */
int hv_pool(const struct corbel_pool_call *c);
/* Debug keys, each of which makes the hypervisor log some of its state. 0, or not 0, told. */
int hv_debug(const char *keys);

/* ---- state.c: guests under run_dir() ---- */
struct guest {
	char name[CFG_NAME_MAX + 1];
	char config[PATH_MAX];
	pid_t pid;
	/* of the VMM, clock ticks since boot: tells pids that were used again apart */
	uint64_t start_time;
	unsigned int vcpus;
	uint64_t memory_mib;
	bool alive;
	int lock; /* fd, -1 = not locked */
};
/* Path of a guest's file; buf of PATH_MAX. */
const char *guest_path(const char *name, const char *file, char *buf);
/* Where its VMM is to make a socket, to which a link of this name leads; buf of PATH_MAX. */
const char *guest_socket(const char *name, const char *file, char *buf);
/* Connect to a socket of the guest's VMM. fd, or -1 (errno). */
int guest_connect(const char *name, const char *socket_name);
/* 0, or -1 (errno; not told) when there is no record of a VMM. */
int guest_load(const char *name, struct guest *g);
/* Lock, making the directory if asked. 0, or -1 told. */
int guest_lock(const char *name, bool create, struct guest *g);
void guest_unlock(struct guest *g);
/*
 * What is done with a locked guest, in a word, for who asks meanwhile; and who asks: false: nothing
 * that has been told of.
 */
void guest_work(const struct guest *g, const char *word);
bool guest_is_at_work(const char *name, char *word, size_t size);
/* Load and lock a guest that must be alive, or may be dead. 0, or -1 told. */
int guest_get(const char *name, bool must_live, struct guest *g);
/* The calling process is about to become the VMM: record it. 0 or -1. */
int guest_record(const struct guest *g);
/* Remove what lies under run_dir(); keeps the log if asked. */
void guest_remove(const char *name, bool keep_log);
/* Give its logs room of their own, under its lock: what cannot be had is told and done without. */
void guest_bound_logs(const char *name);
/* All guests with a record, by name. Count, or -1 told. */
int guest_all(struct guest **out);
bool process_alive(pid_t pid, uint64_t start_time);
uint64_t process_start(pid_t pid); /* 0 = no such process */
uint64_t process_cpu_ns(pid_t pid);
/* What QEMU's option -name calls the guest of this process. False: it has none. */
bool process_guest_name(pid_t pid, char *name, size_t size);
/* Is this in the name of a control group of its? */
bool process_in(pid_t pid, const char *group);
/* It is being killed, or exits: it will not run again, but holds its memory and files yet. */
bool process_is_ending(pid_t pid);
/* Wait until the VMM has ended. */
bool guest_wait_end(const struct guest *g, long ms);
/* Last lines of a guest's VMM log on stderr. */
void guest_show_log(const char *name);
int mkdir_run(void);

/* ---- end.c ---- */
#define ENDING_MS 10000 /* a killed VMM has a VM and memory to give back */
/*
 * Whether its file wants that a guest which has ended, and is locked, be started again, or -1,
 * told, if that cannot be read; age_ms is how long it ran. Why it ended is told on stdout.
 */
int guest_starts_again(const struct guest *g, long age_ms, bool json);
/* The same of one that is locked or was: whatever its age, and nothing is told. */
bool guest_wants_restart(const char *name);
/* Wait until a guest has ended. Whether it is to be started again. */
bool guest_attend(const char *name);

/* ---- qmp.c ---- */
struct qmp {
	int fd;
	size_t used;
	char buf[1 << 19]; /* query-rx-filter has 25 KiB for each interface */
};
long now_ms(void);					       /* monotonic */
int qmp_open(struct qmp *q, const char *name, int timeout_ms); /* 0, -1 (errno) */
void qmp_close(struct qmp *q);
#define QMP_NO_ANSWER "no answer"
/* Run a command; *ret (may be NULL) takes the return value. 0, or -1 with why in err[128]. */
int qmp_command(struct qmp *q, const char *command, struct json_object **ret, char *err);
/*
 * The same with arguments (NULL, or an object, which is taken over) and a file to go with it
 * (-1 = none).
 */
int qmp_call(struct qmp *q, const char *command, struct json_object *args, int fd,
	     struct json_object **ret, char *err);
#define QMP_LONG_MS 86400000 /* a day, for what QEMU does as a whole before it answers */
/* qmp_call(), and how long its answer may take. */
int qmp_call_within(struct qmp *q, long ms, const char *command, struct json_object *args, int fd,
		    struct json_object **ret, char *err);
int qmp_need(struct qmp *q, const char *name); /* qmp_open(). 0, or -1 told */
/* One command to a guest. 0, or -1 told. */
int qmp_do(const char *name, const char *command);
int qmp_do_with(const char *name, const char *command, struct json_object *args,
		struct json_object **ret);
/*
 * Parts of an answer, which may be anything: a member, or NULL; a member's text without control
 * characters, or ""; how many elements an array has, 0 if it is none.
 */
struct json_object *qmp_member(struct json_object *o, const char *key);
const char *qmp_text(struct json_object *o, const char *key);
size_t qmp_count(struct json_object *o);
struct json_object *json_pair(const char *key, struct json_object *value); /* {key: value} */
/* "running", "paused" ... what guest_work() was told, or "unresponsive". */
void qmp_status(const char *name, char *buf, size_t size);

/* ---- net.c ---- */
/* Create a tap device and put it on the bridge. fd, or -1 told. It ends with its last fd. */
int tap_open(const char *bridge, char ifname[16]);

/* ---- vmm.c ---- */
#define HOTPLUG_PORTS CFG_PORTS /* called port0... */
/*
 * Of a guest's nth interface: stable, in the range for locally made addresses that QEMU and KVM
 * guests use.
 */
void make_mac(const char *name, int n, uint8_t mac[6]);
/* Its own, or one made for its number or its port. */
void vif_mac(const char *guest, const struct cfg_vif *vif, uint8_t mac[6]);
/* What QEMU calls it. */
void vif_id(const struct cfg_vif *vif, char id[16]);
/* Where the state of a guest that does not boot comes from. */
struct origin {
	int fd;		 /* of a saved guest, positioned; -1: by the control socket, later */
	const char *ram; /* the file that is its memory, or NULL */
	bool ram_shared; /* what it writes goes into the file, and it is a template to be */
};
/* config is the path of the guest's file, text what stood there. 0, or 1 told. */
int vmm_start(struct cfg *c, const char *config, const char *text, const char *accel,
	      const struct origin *from);
/* A VMM that waits for it begins to read a state. 0, or -1 with why in err[128]. */
int state_read(struct qmp *q, int fd, char *err);
/*
 * A guest's TPM ends a little later than its VMM, and what it stores is its until then. Wait for
 * that. Whether it has ended.
 */
bool tpm_wait_end(const char *guest);
/* Whether its files and VMM are there. 0, or -1 told. */
int vmm_check(struct cfg *c, const char *accel);

/* ---- pci.c ---- */
/* See that a guest can be given a device, which is taken from dom0 if its line says so. 0, or 1
 * told. */
int pci_take(const struct cfg_pci *p);
/* What the guest's VMM calls it. */
void pci_id(const char *bdf, char id[32]);

/* ---- save.c: what core.c and migrate.c have of it ---- */
/*
 * Wait until query-COMMAND's status is one of the words. Its number, or with why in err -1, or
 * QMP_LATE when the time is over.
 */
#define QMP_LATE (-2)
int qmp_wait_status(struct qmp *q, const char *command, const char *const *words, long ms,
		    char *err);
/* Header and configuration of a saved guest or a template; path is for messages. 0, or -1 told. */
int head_write(int fd, const char *path, const struct guest *g, bool template);
/* Switch a capability of QEMU's migration. 0, or -1 with why in err[128]. */
int state_capability(struct qmp *q, const char *name, bool on, char *err);
/* The VMM writes the guest's state behind that. 0, or -1 with why in err[128]. */
int state_write(struct qmp *q, int fd, char *err);
/*
 * A saved guest's file (malloc), name, and whether it is a template; fd then stands where the VMM's
 * part begins. NULL told.
 */
char *head_read(int fd, const char *path, char *name, bool *template);
/*
 * From here on signals that would end the tool end what it waits for, so that no guest is left
 * standing still.
 */
void catch_signals(void);
int signal_take(void); /* the one that has come since, or 0; it has been heeded then */
/*
 * A new file beside path, which is to become that when it is whole: its name in tmp of PATH_MAX.
 * fd, or -1 told.
 */
int begin_file(const char *path, char *tmp);
/* From tmp to path, all of it on the disk. 0, or -1 with why in err[128]. */
int keep_file(int fd, const char *tmp, const char *path, char *err);
/* Let the guest run on; whether it does, which may take until another has let go of its disks. */
bool run_on(const char *name);
/* Start the VMM of the saved guest that fd has, which begins to read its state. 0, or 1 told. */
int state_start(int fd, const char *path, const char *accel, char *name);
/* Wait until it has. 0, or -1 with why in err[128]. */
int state_wait(struct qmp *q, char *err);

/* ---- clone.c: what image.c has of it ---- */
/* Run a program, whose own words are seen. Whether it succeeded. */
bool run_program(char *const argv[]);
#define RUN(...) run_program((char *const[]){__VA_ARGS__, NULL})
/* A directory under lib_dir(), which is made as well. 0, or 1 told. */
int make_guest_dir(const char *dir);
int write_text(const char *path, const char *text); /* 0, or 1 told */
int random_uuid(char uuid[37]);			    /* 0, or -1 */

/* ---- rewrite.c: guests' files written anew ---- */
/* Into a string of a guest's file. */
void write_escaped(FILE *f, const char *s);
void write_disks(FILE *f, const struct cfg *c);
/* own: with addresses and ports, which nobody else may have; else without. */
void write_vifs(FILE *f, const struct cfg *c, bool own);
/*
 * A running guest's copy of its file becomes what its machine has now, so that a VMM started by it
 * can take its state. 0, or -1 with why in err[128].
 */
int config_now(struct qmp *q, const char *name, char *err);
/* The one of the two that is not NULL is added there. 0, or -1 with why in err[128]. */
int config_add(const char *name, const struct cfg_disk *disk, const struct cfg_vif *vif, char *err);

/* ---- commands ---- */
int console_attach(const char *name, long timeout); /* console.c */
/* For one who has something to write, while nobody is attached. fd, or -1 told. */
int console_open(const char *name);
/*
 * Keys one by one and without echo, also those that are signals. False: standard input is no
 * terminal. Signals restore it.
 */
bool terminal_keys(void);
void terminal_restore(void);
/* Text of a guest's file (malloc), or NULL told. */
char *config_read(const char *path);
/* End a guest's VMM, whatever state it is in. 0, or 1 told. */
int end_vmm(const struct guest *g);
/*
 * Give a guest a network interface, at a port and with an address that are put in there, and into
 * its copy of its file. 0, or -1 with why in err[128].
 */
int vif_attach(struct qmp *q, const char *guest, struct cfg_vif *vif, char *err);
/* {key: value, ...} of n pairs of strings. */
struct json_object *make_object(int n, const char *const *pairs);
/* Is s nothing but a number in this range? It is in *out then. */
bool whole_number(const char *s, long min, long max, long *out);
/* Open the guest's control socket, locked. 0, or 1 told. */
int open_guest(const char *name, struct guest *g, struct qmp *q);
/* Plug in vCPUs, or ask for them, until the guest has so many. 0, or 1 told. */
int set_vcpus(struct qmp *q, const char *name, long want);
/* The number of a port of a running PC that is free, or -1 with why in err[128]. */
int free_port(struct qmp *q, char *err);
/* Plug in a device (args are taken over) there. 0, or -1 with why in err[128]. */
int add_device(struct qmp *q, struct json_object *args, int port, char *err);
/* Ask the guest to give a device back, and wait until it has. False: it did not, told. */
bool unplug_device(struct qmp *q, const char *guest, const char *id);
int cmd_create(struct opts *o); /* control.c */
int cmd_start(struct opts *o);
int cmd_starts_again(struct opts *o); /* end.c */
int cmd_console(struct opts *o);
int cmd_pause(struct opts *o);
int cmd_unpause(struct opts *o);
int cmd_shutdown(struct opts *o);
int cmd_reboot(struct opts *o);
int cmd_destroy(struct opts *o);
int cmd_config_update(struct opts *o);
/* Note how much memory a guest was told to have. False, told: it could not be written. */
bool mem_told(const char *name, uint64_t mib); /* memory.c */
/*
 * What mem-max has left a guest, or what it was started with, in MiB. 0, or -1 with why in
 * err[128].
 */
int mem_most(struct qmp *q, const char *name, long *most, bool *limited, char *err);
int cmd_mem_set(struct opts *o);
int cmd_mem_max(struct opts *o);
int cmd_domid(struct opts *o); /* names.c */
int cmd_domname(struct opts *o);
int cmd_rename(struct opts *o);
int cmd_vcpu_set(struct opts *o); /* manage.c */
int cmd_block_list(struct opts *o);
int cmd_block_attach(struct opts *o);
int cmd_block_detach(struct opts *o);
int cmd_cd_insert(struct opts *o);
int cmd_cd_eject(struct opts *o);
int cmd_network_list(struct opts *o);
int cmd_network_attach(struct opts *o);
int cmd_network_detach(struct opts *o);
int cmd_vncviewer(struct opts *o);
int cmd_pci_assignable_list(struct opts *o); /* pci.c */
int cmd_pci_assignable_add(struct opts *o);
int cmd_pci_assignable_remove(struct opts *o);
int cmd_pci_list(struct opts *o);
int cmd_pci_attach(struct opts *o);
int cmd_pci_detach(struct opts *o);
int cmd_trigger(struct opts *o);
int cmd_sysrq(struct opts *o);
int cmd_dump_core(struct opts *o); /* core.c */
int cmd_save(struct opts *o);	   /* save.c */
int cmd_restore(struct opts *o);
int cmd_snapshot(struct opts *o);
int cmd_revert(struct opts *o);
int cmd_template(struct opts *o); /* clone.c */
int cmd_clone(struct opts *o);
int cmd_image(struct opts *o);	 /* image.c */
int cmd_migrate(struct opts *o); /* migrate.c */
int cmd_migrate_receive(struct opts *o);
int cmd_metrics(struct opts *o); /* metrics.c */
int cmd_info(struct opts *o);	 /* info.c */
int cmd_list(struct opts *o);	 /* list.c */
int cmd_uptime(struct opts *o);
int cmd_vcpu_list(struct opts *o); /* vcpus.c */
int cmd_sched(struct opts *o);	   /* sched.c */
int cmd_vcpu_pin(struct opts *o);
int cmd_stat(struct opts *o);  /* stat.c */
int cmd_dmesg(struct opts *o); /* log.c */
int cmd_debug_dump(struct opts *o);
int cmd_cpupool_list(struct opts *o); /* cpupool.c */
int cmd_cpupool_create(struct opts *o);
int cmd_cpupool_destroy(struct opts *o);
int cmd_cpupool_rename(struct opts *o);
int cmd_cpupool_cpu_add(struct opts *o);
int cmd_cpupool_cpu_remove(struct opts *o);
int cmd_cpupool_migrate(struct opts *o);
int cmd_cpupool_numa_split(struct opts *o);
int cmd_top(struct opts *o);   /* top.c */
int cmd_trace(struct opts *o); /* trace.c */

/* ---- names.c ---- */
/*
 * A guest's name, for the id of it or of dom0, or for what xl calls that; or what it was, if no
 * guest has this id.
 */
char *guest_of_id(char *name);
/* The commands, for which a part of a guest may also be called as xl does. */
int names_cd_insert(struct opts *o);
int names_cd_eject(struct opts *o);
int names_block_detach(struct opts *o);
int names_network_detach(struct opts *o);
int names_trigger(struct opts *o);

/* ---- cpupool.c ---- */
/* All pools in *out (malloc), last the CPUs of none. Count, or -1 told. */
int pools_get(struct corbel_pool_stat **out);
/* Of that id, or one that is called "?". */
const struct corbel_pool_stat *pool_find(const struct corbel_pool_stat *p, int n, uint32_t id);
/* 0, or 1 told. */
int pool_move(const char *guest, const char *pool);
/* What a vCPU, or if `only` is less than 0 each, may run where there are deadlines. 0, or 1 told.
 */
int budget_set(const char *guest, unsigned int period, unsigned int budget, long only);

/* ---- got.c ---- */
/* What a vCPU, or several, had in a window, in percent of one CPU. */
struct got {
	bool known; /* it was there all the time */
	double ran, waited;
};
/*
 * All vCPUs, and what each has got since so many seconds ago, for which this waits; 0: as usual. In
 * *vcpus and *got (malloc). Count, or -1 told.
 */
int got_all(double seconds, struct corbel_vcpu_stat **vcpus, struct got **got);
void got_add(struct got *sum, const struct got *g);
/* Two columns. */
void got_text(const struct got *g);
void got_json(struct json_object *o, const struct got *g);
/* What the policy of its pool promises it, of one CPU; 0: nothing. */
double promised_percent(const struct corbel_vcpu_stat *v, const struct corbel_pool_stat *pool);

/* ---- list.c: what list and top are made of ---- */
struct row {
	char name[40], state[24];
	int64_t id; /* -1 = not in the hypervisor */
	pid_t pid;
	unsigned int vcpus;
	uint64_t memory_bytes, cpu_ns, pool_bytes;
	unsigned int weight, cap;    /* 0: none */
	char pool[CORBEL_POOL_NAME]; /* of CPUs; "" = not in the hypervisor */
	bool managed;		     /* started by this tool */
	struct traffic {
		uint64_t net_rx, net_tx, disk_rd, disk_wr; /* bytes, as the guest sees it */
		uint64_t reads, writes;			   /* of disks */
		unsigned int nets, disks;
		uint64_t most_bytes; /* of memory, that it may be told to have */
		bool disks_known;    /* its VMM has told */
	} traffic;
};
/* dom0, the hypervisor's VMs and guests of run_dir(). Count, or -1 told. */
int rows_get(struct row **out, bool ended);
/*
 * Fill in what went over a VMM's tap devices, and of this tool's guests, to and from disks, how
 * many of each there are, and what memory it may have. What cannot be told is 0.
 */
void rows_traffic(struct row *rows, int n);
/* VM of a name: a guest's, "dom0", or one known to the hypervisor only. 0, or -1 told. */
int vm_of_name(const char *name, struct corbel_vm_stat *vm);
/* The VMM of a VM of this name that this tool has not started; 0: there is none. */
pid_t pid_of_other(const char *name);
/* All VMs; those of guests under run_dir() have the guest's name. Count, or -1 told. */
int vms_get(struct corbel_vm_stat **out);

/* ---- vcpus.c ---- */
/* vCPUs of a VM (-1 = all) in *out (malloc). Count, or -1 told. */
int vcpus_of(int64_t vm, struct corbel_vcpu_stat **out);
/* What VMs, or the one named, and their vCPUs were to get and got. 0, or 1 told. */
int show_sched(struct opts *o);

/* ---- topology.c, power.c ---- */
/* Of `corbel info`: what the CPUs share. */
struct json_object *topology_json(void);
void topology_text(void);
/* How they sleep, and their frequency. */
struct json_object *power_json(void);
void power_text(void);

/* ---- sched.c ---- */
/*
 * Of a guest as a whole, or one vCPU (only_vcpu; -1: all): weight and cap, 0: as they are, and
 * where each of its vCPUs may run, of CFG_MAX_VCPUS. 0, or -1 told.
 */
int apply_sched(const char *name, unsigned int weight, const struct corbel_cpus *affinity,
		unsigned int cap, long only_vcpu);

#endif
