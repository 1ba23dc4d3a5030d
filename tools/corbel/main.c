/* SPDX-License-Identifier: GPL-2.0-only */
/* Command line of the corbel tool. */
#define _GNU_SOURCE
#include "corbel.h"

#include <argp.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef CORBEL_VERSION
#define CORBEL_VERSION "unknown"
#endif

const char *argp_program_version = "corbel " CORBEL_VERSION;

enum {
	OPT_JSON = 'j',
	OPT_ALL = 'a',
	OPT_ACCEL = 256,
	OPT_ATTACH = 'c',
	OPT_FOLLOW = 'f',
	OPT_WAIT = 'w',
	OPT_TIMEOUT = 't',
	OPT_DELAY = 'd',
	OPT_ITERATIONS = 'n',
	OPT_XENTOP_ITERATIONS = 'i',
	OPT_BATCH = 'b',
	OPT_VERBOSE = 'v',
	OPT_WEIGHT = 257,
	OPT_CPUS,
	OPT_CAP,
	OPT_PERIOD,
	OPT_BUDGET,
	OPT_VCPU,
	OPT_CHECK,
	OPT_KEEP,
	OPT_SSH,
	OPT_KEY,
	OPT_USER_DATA,
	OPT_BRIDGE,
	OPT_SIZE,
	OPT_MEMORY,
	OPT_VCPUS,
	OPT_NO_START,
	OPT_DESTROY,
	OPT_FOREGROUND = 'F',
	OPT_PAUSED = 'p'
};

#define O_JSON                                                                                     \
	{                                                                                          \
		"json", OPT_JSON, 0, 0, "Write JSON", 0                                            \
	}
#define O_WINDOW                                                                                   \
	{                                                                                          \
		"delay", OPT_DELAY, "SECONDS", 0, "Time over which is counted who got what (0.2)", \
		    0                                                                              \
	}
#define O_EACH                                                                                     \
	{                                                                                          \
		"all", OPT_ALL, 0, 0, "All guests, in place of a name", 0                          \
	}
#define O_TIMEOUT(d)                                                                               \
	{                                                                                          \
		"timeout", OPT_TIMEOUT, "SECONDS", 0, d, 0                                         \
	}
static const struct argp_option
    json_only[] = {O_JSON, {0}},
    list_options[] = {O_JSON,
		      {"all", OPT_ALL, 0, 0, "Show guests that have ended, too", 0},
		      {"verbose", OPT_VERBOSE, 0, 0,
		       "Show process, hypervisor memory and who started it, too", 0},
		      {0}},
    create_options[] = {{"accel", OPT_ACCEL, "ACCEL", 0, "QEMU's accelerator: kvm (default) or tcg",
			 0},
			{"console", OPT_ATTACH, 0, 0, "Attach to the console", 0},
			{"paused", OPT_PAUSED, 0, 0, "Leave the guest paused", 0},
			{"check", OPT_CHECK, 0, 0, "Only say what is wrong in the file", 0},
			{"json", OPT_JSON, 0, 0, "With --check: write JSON", 0},
			{"foreground", OPT_FOREGROUND, 0, 0,
			 "Stay until the guest has ended, and start it again as its file says", 0},
			{0}},
    save_options[] = {{"keep", OPT_KEEP, 0, 0, "Let the guest run on", 0}, {0}},
    restore_options[] = {{"accel", OPT_ACCEL, "ACCEL", 0, "As for create", 0},
			 {"paused", OPT_PAUSED, 0, 0, "Leave the guest paused", 0},
			 {0}},
    template_options[] = {{"accel", OPT_ACCEL, "ACCEL", 0, "As for create", 0},
			  {"keep", OPT_KEEP, 0, 0, "Let the guest run on", 0},
			  {0}},
    image_options[] = {{"accel", OPT_ACCEL, "ACCEL", 0, "As for create", 0},
		       {"key", OPT_KEY, "FILE", 0,
			"ssh's public key that may log in (~/.ssh/id_*.pub)", 0},
		       {"user-data", OPT_USER_DATA, "FILE", 0,
			"In place of a key, all that cloud-init is told", 0},
		       {"bridge", OPT_BRIDGE, "NAME", 0,
			"Its network (corbr0, virbr0, or dom0's connections)", 0},
		       {"size", OPT_SIZE, "GIB", 0, "Size of its disk (the image's)", 0},
		       {"memory", OPT_MEMORY, "MIB", 0, "Its memory (1024)", 0},
		       {"vcpus", OPT_VCPUS, "N", 0, "Its vCPUs (1)", 0},
		       {"no-start", OPT_NO_START, 0, 0, "Only make its file and disks", 0},
		       {0}},
    migrate_options[] = {{"ssh", OPT_SSH, "COMMAND", 0, "What to run for ssh, with options", 0},
			 {0}},
    accel_options[] = {{"accel", OPT_ACCEL, "ACCEL", 0, "As for create", 0}, {0}},
    console_options[] = {O_TIMEOUT("Detach when the guest was silent for so long"), {0}},
    wait_options[] = {{"wait", OPT_WAIT, 0, 0, "Wait until the guest has ended", 0},
		      O_TIMEOUT("Wait at most so long (60)"),
		      {"destroy", OPT_DESTROY, 0, 0, "End then what has not; waits as well", 0},
		      O_EACH,
		      {0}},
    each_options[] = {O_EACH, {0}},
    top_options[] = {O_JSON,
		     {"delay", OPT_DELAY, "SECONDS", 0, "Time between two pictures (2)", 0},
		     {"iterations", OPT_ITERATIONS, "N", 0, "End after N pictures", 0},
		     {0, OPT_XENTOP_ITERATIONS, 0, OPTION_ALIAS, 0, 0},
		     {"batch", OPT_BATCH, 0, 0, "Plain text, one picture after the other", 0},
		     {0}},
    trace_options[] = {O_JSON,
		       {"delay", OPT_DELAY, "SECONDS", 0, "Time between two looks (0.01)", 0},
		       {"iterations", OPT_ITERATIONS, "N", 0, "End after N looks (1000)", 0},
		       {0}},
    dmesg_options[] = {O_JSON,
		       {"follow", OPT_FOLLOW, 0, 0, "Go on with what is logged later", 0},
		       {0}},
    window_options[] = {O_JSON, O_WINDOW, {0}},
    sched_options[] = {O_JSON,
		       O_WINDOW,
		       {"weight", OPT_WEIGHT, "N", 0,
			"Share of CPU time of all its vCPUs, 1..100000; 1024 is usual", 0},
		       {"cpus", OPT_CPUS, "LIST", 0, "CPUs it may run on: all, 0-1, 0-7,^3", 0},
		       {"cap", OPT_CAP, "PERCENT", 0,
			"At most so much of one CPU, 200 is two; 0 lifts it", 0},
		       {"period", OPT_PERIOD, "US", 0,
			"Each so many microseconds it may run its budget, where its pool has "
			"deadlines",
			0},
		       {"budget", OPT_BUDGET, "US", 0, "So long, each vCPU", 0},
		       {"vcpu", OPT_VCPU, "N", 0, "Not the guest as a whole, only this vCPU", 0},
		       {0}},
    pool_options[] = {O_JSON,
		      O_WINDOW,
		      {"cpus", OPT_ATTACH, 0, 0, "Show which CPUs, not how many", 0},
		      {0}},
    no_options[] = {{0}};

static int cmd_help(struct opts *o);
static int cmd_version(struct opts *o);

static const struct command {
	const char *name, *args, *doc;
	const struct argp_option *options;
	int min, max;
	int (*run)(struct opts *o);
} commands[] = {
    {"info", "", "Show the hypervisor: version, back end, CPUs, memory", json_only, 0, 0, cmd_info},
    {"list", "[NAME]", "List dom0 and guests: state, vCPUs, memory, CPU time", list_options, 0, 1,
     cmd_list},
    {"create", "FILE [KEY=VALUE]...", "Start a guest from a file in xl.cfg syntax", create_options,
     1, 64, cmd_create},
    {"start", "NAME", "Start a guest from /etc/corbel/NAME.cfg", create_options, 1, 1, cmd_start},
    {"starts-again", "NAME", "Tell whether a guest that has ended is to, by its file", json_only, 1,
     1, cmd_starts_again},
    {"config-update", "NAME FILE", "Have the next start by another file", no_options, 2, 2,
     cmd_config_update},
    {"console", "NAME", "Attach to a guest's serial console; Ctrl-] detaches", console_options, 1,
     1, cmd_console},
    {"pause", "NAME", "Stop a guest's vCPUs", no_options, 1, 1, cmd_pause},
    {"unpause", "NAME", "Let them run again", no_options, 1, 1, cmd_unpause},
    {"shutdown", "NAME", "Press the guest's power button", wait_options, 0, 1, cmd_shutdown},
    {"reboot", "NAME", "Reset the guest", each_options, 0, 1, cmd_reboot},
    {"destroy", "NAME", "End the guest at once", no_options, 1, 1, cmd_destroy},
    {"top", "", "Show use of CPUs, networks and disks, refreshed; q ends", top_options, 0, 0,
     cmd_top},
    {"trace", "", "Note how long each vCPU runs and waits, for the scheduler's simulator",
     trace_options, 0, 0, cmd_trace},
    {"dmesg", "", "Show the hypervisor's log", dmesg_options, 0, 0, cmd_dmesg},
    {"debug-dump", "", "Show all of this and the machine, to be sent with a bug report", no_options,
     0, 0, cmd_debug_dump},
    {"vcpu-list", "[NAME]", "List vCPUs: CPU, state, time, what they were to get and got",
     window_options, 0, 1, cmd_vcpu_list},
    {"sched", "[NAME]", "Show or set weight, cap and CPUs of a guest or a vCPU", sched_options, 0,
     1, cmd_sched},
    {"cpupool-list", "[POOL]", "List pools of CPUs: policy, VMs, promised and got, CPUs",
     pool_options, 0, 1, cmd_cpupool_list},
    {"cpupool-create", "POOL [cpus=LIST] [policy=fair|rr|deadline|null]", "Make a pool", no_options,
     1, 3, cmd_cpupool_create},
    {"cpupool-destroy", "POOL", "Unmake one that has no VMs", no_options, 1, 1,
     cmd_cpupool_destroy},
    {"cpupool-rename", "POOL NEW", "Give it another name", no_options, 2, 2, cmd_cpupool_rename},
    {"cpupool-cpu-add", "POOL CPUS", "Give it CPUs of Pool-0 or of none", no_options, 2, 2,
     cmd_cpupool_cpu_add},
    {"cpupool-cpu-remove", "POOL CPUS", "Take them away", no_options, 2, 2, cmd_cpupool_cpu_remove},
    {"cpupool-migrate", "NAME POOL", "Move a running guest to a pool", no_options, 2, 2,
     cmd_cpupool_migrate},
    {"cpupool-numa-split", "", "Make a pool of each node's CPUs", no_options, 0, 0,
     cmd_cpupool_numa_split},
    {"stat", "[NAME]", "Count exits by reason and vCPU", json_only, 0, 1, cmd_stat},
    {"metrics", "", "Show numbers of all guests for Prometheus", no_options, 0, 0, cmd_metrics},
    {"domid", "NAME", "Show the id of a guest of this name", json_only, 1, 1, cmd_domid},
    {"domname", "ID", "Show the name of a guest of this id", json_only, 1, 1, cmd_domname},
    {"uptime", "[NAME]", "Show how long guests have been running", json_only, 0, 1, cmd_uptime},
    {"rename", "NAME NEW", "Give a running guest another name", no_options, 2, 2, cmd_rename},
    {"mem-set", "NAME SIZE", "Set a guest's memory, up to maxmem of its file", no_options, 2, 2,
     cmd_mem_set},
    {"mem-max", "NAME SIZE", "Set up to which memory mem-set may go", no_options, 2, 2,
     cmd_mem_max},
    {"vcpu-set", "NAME N", "Set how many vCPUs a guest has, up to maxvcpus", no_options, 2, 2,
     cmd_vcpu_set},
    {"vcpu-pin", "NAME VCPU CPUS", "Set on which CPUs a vCPU, or all, may run", no_options, 3, 3,
     cmd_vcpu_pin},
    {"block-list", "NAME", "List a guest's disks", json_only, 1, 1, cmd_block_list},
    {"block-attach", "NAME DISK", "Give it a disk, described as in its file", no_options, 2, 2,
     cmd_block_attach},
    {"block-detach", "NAME ID", "Take it away", no_options, 2, 2, names_block_detach},
    {"cd-insert", "NAME ID FILE", "Put an image into a guest's CD drive", no_options, 3, 3,
     names_cd_insert},
    {"cd-eject", "NAME ID", "Take it out", no_options, 2, 2, names_cd_eject},
    {"network-list", "NAME", "List a guest's network interfaces", json_only, 1, 1,
     cmd_network_list},
    {"network-attach", "NAME [VIF]", "Give it one, described as in its file", no_options, 1, 2,
     cmd_network_attach},
    {"network-detach", "NAME ID", "Take it away", no_options, 2, 2, names_network_detach},
    {"pci-list", "NAME", "List dom0's PCI devices that a guest has", json_only, 1, 1, cmd_pci_list},
    {"pci-attach", "NAME DEVICE", "Give it one, described as in its file", no_options, 2, 2,
     cmd_pci_attach},
    {"pci-detach", "NAME DEVICE", "Take it away", no_options, 2, 2, cmd_pci_detach},
    {"pci-assignable-list", "", "List PCI devices that guests can have", json_only, 0, 0,
     cmd_pci_assignable_list},
    {"pci-assignable-add", "DEVICE", "Take one from dom0's driver", no_options, 1, 1,
     cmd_pci_assignable_add},
    {"pci-assignable-remove", "DEVICE", "Give it back to dom0", no_options, 1, 1,
     cmd_pci_assignable_remove},
    {"vncviewer", "NAME", "Look at a guest's screen", no_options, 1, 1, cmd_vncviewer},
    {"sysrq", "NAME LETTER", "Send a magic SysRq to a Linux guest", no_options, 2, 2, cmd_sysrq},
    {"trigger", "NAME WHAT [VCPU]", "Send nmi, power, reset or s3resume", no_options, 2, 3,
     names_trigger},
    {"dump-core", "NAME FILE", "Write a guest's memory as an ELF core", no_options, 2, 2,
     cmd_dump_core},
    {"save", "NAME FILE", "Write a guest to a file and end it", save_options, 2, 2, cmd_save},
    {"restore", "FILE", "Let it go on from there", restore_options, 1, 1, cmd_restore},
    {"template", "FROM FILE", "Make a template of a guest or a saved one", template_options, 2, 2,
     cmd_template},
    {"clone", "FROM NAME", "Start a guest like a template, or a guest", restore_options, 2, 2,
     cmd_clone},
    {"image", "IMAGE NAME", "Make a guest of a cloud image, and start it", image_options, 2, 2,
     cmd_image},
    {"migrate", "NAME HOST", "Move a running guest to another machine, by ssh", migrate_options, 2,
     2, cmd_migrate},
    {"migrate-receive", "", "What migrate runs there", accel_options, 0, 0, cmd_migrate_receive},
    {"snapshot", "NAME [TAG]", "Keep a guest's state in its qcow2 disks, or list such", json_only,
     1, 2, cmd_snapshot},
    {"revert", "NAME TAG", "Go back to such a state", no_options, 2, 2, cmd_revert},
    {"help", "[COMMAND]", "Tell about all commands or one", no_options, 0, 1, cmd_help},
    {"version", "", "Show the version of this tool", json_only, 0, 0, cmd_version},
};
#define NCOMMANDS ((int)(sizeof(commands) / sizeof(commands[0])))

/* ---- places ---- */

static const char *dir_of(const char *env, const char *usual)
{
	const char *d = getenv(env);

	return d && *d ? d : usual;
}

const char *run_dir(void)
{
	return dir_of("CORBEL_RUN", "/run/corbel");
}

const char *etc_dir(void)
{
	return dir_of("CORBEL_ETC", "/etc/corbel");
}

const char *lib_dir(void)
{
	return dir_of("CORBEL_LIB", "/var/lib/corbel");
}

/* ---- arguments ---- */

static long parse_number(struct argp_state *state, const char *what, const char *arg, long min,
			 long max)
{
	char *end;
	long n = strtol(arg, &end, 0);

	if (end == arg || *end || n < min || n > max)
		argp_error(state, "%s wants a number from %ld to %ld, not \"%s\"", what, min, max,
			   arg);
	return n;
}

static int parse_command_opt(int key, char *arg, struct argp_state *state)
{
	struct opts *o = state->input;
	char err[160];

	switch (key) {
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_ALL:
		o->all = true;
		break;
	case OPT_ACCEL:
		o->accel = arg;
		break;
	case OPT_SSH:
		o->ssh = arg;
		break;
	case OPT_KEY:
		o->key = arg;
		break;
	case OPT_USER_DATA:
		o->user_data = arg;
		break;
	case OPT_BRIDGE:
		o->bridge = arg;
		break;
	case OPT_SIZE:
		o->size = parse_number(state, "--size", arg, 1, 65536);
		break;
	case OPT_MEMORY:
		o->memory = parse_number(state, "--memory", arg, 16, 1 << 24);
		break;
	case OPT_VCPUS:
		o->vcpus = parse_number(state, "--vcpus", arg, 1, CFG_MAX_VCPUS);
		break;
	case OPT_NO_START:
		o->no_start = true;
		break;
	case OPT_DESTROY:
		o->destroy = true;
		break;
	case OPT_FOREGROUND:
		o->foreground = true;
		break;
	case OPT_ATTACH:
		o->attach = true;
		break;
	case OPT_FOLLOW:
		o->follow = true;
		break;
	case OPT_WAIT:
		o->wait = true;
		break;
	case OPT_BATCH:
		o->batch = true;
		break;
	case OPT_VERBOSE:
		o->verbose = true;
		break;
	case OPT_CHECK:
		o->check = true;
		break;
	case OPT_KEEP:
		o->keep = true;
		break;
	case OPT_PAUSED:
		o->paused = true;
		break;
	case OPT_TIMEOUT:
		o->timeout = parse_number(state, "--timeout", arg, 1, 1000000);
		break;
	case OPT_ITERATIONS:
	case OPT_XENTOP_ITERATIONS:
		o->iterations = parse_number(state, "--iterations", arg, 1, 1000000);
		break;
	case OPT_DELAY:
		o->delay = atof(arg);
		if (!(o->delay >= 0.001 && o->delay <= 3600))
			argp_error(state, "--delay wants seconds from 0.001 to 3600, not \"%s\"",
				   arg);
		break;
	case OPT_WEIGHT:
		o->weight = parse_number(state, "--weight", arg, 1, CORBEL_MAX_WEIGHT);
		break;
	case OPT_CAP:
		o->cap = parse_number(state, "--cap", arg, 0, CORBEL_MAX_CAP - 1);
		if (!o->cap)
			o->cap = CORBEL_MAX_CAP;
		break;
	case OPT_PERIOD:
		o->period = parse_number(state, "--period", arg, CORBEL_MIN_BUDGET_US,
					 CORBEL_MAX_PERIOD_US);
		break;
	case OPT_BUDGET:
		o->budget = parse_number(state, "--budget", arg, CORBEL_MIN_BUDGET_US,
					 CORBEL_MAX_PERIOD_US);
		break;
	case OPT_VCPU:
		o->vcpu = parse_number(state, "--vcpu", arg, 0, CFG_MAX_VCPUS - 1);
		break;
	case OPT_CPUS:
		if (cpulist_parse(arg, &o->cpus, err, sizeof(err)))
			argp_error(state, "--cpus: %s", err);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static error_t parse_command(int key, char *arg, struct argp_state *state)
{
	struct opts *o = state->input;

	if (key != ARGP_KEY_ARGS)
		return parse_command_opt(key, arg, state);
	o->args = state->argv + state->next;
	o->nargs = state->argc - state->next;
	return 0;
}

static error_t parse_global(int key, char *arg, struct argp_state *state)
{
	if (key == ARGP_KEY_NO_ARGS)
		argp_usage(state);
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	*(int *)state->input = state->next - 1;
	state->next = state->argc; /* the rest is the command's */
	return 0;
}

static char *help_filter(int key, const char *text, void *input)
{
	size_t size;
	char *out = NULL;
	FILE *f;
	int i;

	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	f = open_memstream(&out, &size);
	if (!f)
		return (char *)text;
	fprintf(f, "Commands:\n");
	for (i = 0; i < NCOMMANDS; i++)
		fprintf(f, "  %-14s %-12s  %s\n", commands[i].name, commands[i].args,
			commands[i].doc);
	fprintf(f, "\n`corbel COMMAND --help' tells more. Guests' state lies in $CORBEL_RUN "
		   "(/run/corbel), their files "
		   "in\n"
		   "$CORBEL_ETC (/etc/corbel), clones in $CORBEL_LIB (/var/lib/corbel); "
		   "$CORBEL_ACCEL is QEMU's accelerator (kvm).");
	fclose(f);
	return out;
}

/* Not a file's name: a guest that runs, or has. */
static bool takes_guest(const struct command *c)
{
	return (!strncmp(c->args, "NAME", 4) || !strncmp(c->args, "[NAME", 5)) &&
	       c->run != cmd_start && c->run != cmd_starts_again;
}

/* Who reads JSON is told there, too, why there is none. */
static int tell_failure(const struct opts *o, int err)
{
	struct json_object *json;

	if (!err || !o->json || json_was_printed())
		return err;
	json = json_object_new_object();
	json_object_object_add(json, "error", json_object_new_string(failure_text()));
	print_json(json);
	return err;
}

/* As xl has it; argp itself knows -? and --help. */
static error_t parse_help(int key, char *arg, struct argp_state *state)
{
	if (key != 'h')
		return ARGP_ERR_UNKNOWN;
	argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
	return 0;
}

static const struct argp_option help_options[] = {{0, 'h', 0, OPTION_HIDDEN, 0, 0}, {0}};
static const struct argp help_argp = {.options = help_options, .parser = parse_help};
static const struct argp_child with_help[] = {{&help_argp, 0, 0, 0}, {0}};

static int run_command(const struct command *c, int argc, char **argv)
{
	struct argp argp = {.options = c->options,
			    .parser = parse_command,
			    .args_doc = c->args,
			    .doc = c->doc,
			    .children = with_help};
	struct opts o = {.vcpu = -1, .accel = dir_of("CORBEL_ACCEL", "kvm")};
	char name[64];
	int err;

	snprintf(name, sizeof(name), "corbel %s", c->name);
	argv[0] = name;
	err = argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (err)
		return fail("%s: %s", c->name, strerror(err));
	if (o.nargs < c->min || o.nargs > c->max) {
		fail("%s: %s; right is: corbel %s %s", c->name,
		     o.nargs < c->min ? "an argument is missing" : "too many arguments", c->name,
		     c->args);
		return tell_failure(&o, 2);
	}
	if (o.nargs && takes_guest(c))
		o.args[0] = guest_of_id(o.args[0]);
	err = tell_failure(&o, c->run(&o));
	if (fflush(stdout) || ferror(stdout))
		return fail("cannot write the output: the disk is full or the reader is gone");
	return err;
}

static const struct argp global_argp = {.parser = parse_global,
					.args_doc = "COMMAND [ARGUMENTS]",
					.children = with_help,
					.help_filter = help_filter,
					.doc = "Manage the Corbel hypervisor and its guests.\v "};

/* Commands of xl, or how those of a kind begin, and what to do instead. */
static const struct {
	const char *name, *instead;
} of_xl[] = {
    {"sched-", "`corbel sched' has weights, CPUs, caps and budgets"},
    {"usb", "have usb = 1 and usbdevice in the guest's file"},
    {"vtpm-", "have tpm = 1 in the guest's file"},
    {"sharing", "clones share memory; `corbel clone' makes them"},
    {"channel-list", "there are no channels; a second serial port is one"},
    {"vkb-", "have usb = 1 and usbdevice in the guest's file"},
    {"vdispl-", "have vga and vnc or spice in the guest's file"},
    {"vsnd-", "sound can be had by device_model_args"},
    {"set-parameters", "the hypervisor's options are set where it boots"},
    {"getenforce", "there is no FLASK"},
    {"setenforce", "there is no FLASK"},
    {"loadpolicy", "there is no FLASK"},
    {"qemu-monitor-command", "QEMU's control socket is qmp in the guest's directory"},
    {"psr-", "caches are not parted"},
    {"button-press", "`corbel trigger' does that"},
    {"debug-keys", "`corbel debug-dump' shows what they do"},
    {"devd", "dom0's kernel and QEMU are all drivers there are"},
    {"claims", "memory is dom0's to give: see free(1)"},
    {"vm-list", "`corbel list' does that"},
    {"remus", "`corbel migrate' moves a guest, once"},
};

/* Tell of a command that is not there: the one of xl, or the nearest. */
static void no_command(const char *name)
{
	const char *nearest = NULL;
	int i, d, best = strlen(name) / 3 + 1;

	for (i = 0; i < (int)(sizeof(of_xl) / sizeof(of_xl[0])); i++)
		if (!strncmp(name, of_xl[i].name, strlen(of_xl[i].name))) {
			fail("there is no command \"%s\" as in xl: %s", name, of_xl[i].instead);
			return;
		}
	for (i = 0; i < NCOMMANDS; i++) {
		d = cfg_distance(name, commands[i].name);
		if (d <= best) {
			best = d - 1;
			nearest = commands[i].name;
		}
	}
	if (nearest)
		fail("there is no command \"%s\"; did you mean \"%s\"?", name, nearest);
	else
		fail("there is no command \"%s\"; `corbel --help' lists them", name);
}

static const struct command *find_command(const char *name)
{
	int i;

	for (i = 0; i < NCOMMANDS; i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	no_command(name);
	return NULL;
}

static int cmd_help(struct opts *o)
{
	const struct command *c;

	if (!o->nargs) {
		argp_help(&global_argp, stdout, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK, "corbel");
		return 0;
	}
	c = find_command(o->args[0]);
	return c ? run_command(c, 2, (char *[]){"corbel", "--help", NULL}) : 2;
}

static int cmd_version(struct opts *o)
{
	struct json_object *json;

	if (!o->json) {
		printf("%s\n", argp_program_version);
		return 0;
	}
	json = json_object_new_object();
	json_object_object_add(json, "version", json_object_new_string(CORBEL_VERSION));
	print_json(json);
	return 0;
}

/* What is closed must not become a guest's file or socket, and then be written to as if it were
 * this. */
static void open_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY); /* to be written to fails, as it should */
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const struct command *c;
	int at = 0;

	open_streams();
	argp_err_exit_status = 2;
	signal(SIGPIPE, SIG_IGN);
	if (argp_parse(&global_argp, argc, argv, ARGP_IN_ORDER, NULL, &at))
		return 2;
	c = find_command(argv[at]);
	return c ? run_command(c, argc - at, argv + at) : 2;
}
