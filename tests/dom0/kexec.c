/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Another kernel in place of the one that runs, as kexec-tools' `kexec -l` or `-p` load it.
 *
 * usage: kexec KERNEL INITRD CMDLINE go	it starts at once, nothing is shut down before
 *        kexec KERNEL INITRD CMDLINE crash	it is kept for a crash of this one
 *        kexec vmcore	in that one: the hypervisor's log of then, out of /proc/vmcore
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#define KEXEC_FILE_ON_CRASH 2
#define RB_MAGIC1	    0xfee1dead
#define RB_MAGIC2	    0x28121969
#define RB_KEXEC	    0x45584543

#define MAX_PARTS 64
#define MAX_NOTES 0x20000

static Elf64_Phdr part[MAX_PARTS];
static char notes[MAX_NOTES + 1];

/* A number of VMCOREINFO; 0: it is not there. */
static unsigned long long read_number(const char *info, const char *name)
{
	const char *at = strstr(info, name);

	return at ? strtoull(at + strlen(name), NULL, 16) : 0;
}

/* The text of VMCOREINFO, ended by a 0. */
static char *find_info(size_t size)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= size;) {
		Elf64_Nhdr *n = (void *)(notes + at);
		char *name = (char *)(n + 1), *desc = name + ((n->n_namesz + 3) & ~3u);

		if (desc + n->n_descsz > notes + size)
			break;
		if (!strcmp(name, "VMCOREINFO")) {
			desc[n->n_descsz] = 0;
			return desc;
		}
		at = desc + ((n->n_descsz + 3) & ~3u) - notes;
	}
	return NULL;
}

static int print_memory(int core, int parts, unsigned long long addr, unsigned long long size)
{
	for (int i = 0; i < parts; i++) {
		char *text = malloc(size);

		if (part[i].p_type != PT_LOAD || addr < part[i].p_paddr ||
		    addr + size > part[i].p_paddr + part[i].p_memsz)
			continue;
		if (pread(core, text, size, part[i].p_offset + addr - part[i].p_paddr) !=
		    (long)size)
			break;
		return fwrite(text, 1, size, stdout) != size;
	}
	fprintf(stderr, "no memory at %llx, %llx bytes\n", addr, size);
	return 1;
}

static int print_log(void)
{
	int core = open("/proc/vmcore", O_RDONLY);
	const char *info = NULL;
	Elf64_Ehdr e;

	if (core < 0 || pread(core, &e, sizeof(e), 0) != sizeof(e) || e.e_phnum > MAX_PARTS ||
	    pread(core, part, e.e_phnum * sizeof(*part), e.e_phoff) !=
		(long)(e.e_phnum * sizeof(*part))) {
		perror("/proc/vmcore");
		return 1;
	}
	for (int i = 0; i < e.e_phnum && !info; i++)
		if (part[i].p_type == PT_NOTE && part[i].p_filesz <= MAX_NOTES &&
		    pread(core, notes, part[i].p_filesz, part[i].p_offset) ==
			(long)part[i].p_filesz)
			info = find_info(part[i].p_filesz);
	if (!info) {
		fprintf(stderr, "no VMCOREINFO\n");
		return 1;
	}
	return print_memory(core, e.e_phnum, read_number(info, "\nCORBEL_LOG="),
			    read_number(info, "\nCORBEL_LOG_SIZE="));
}

int main(int argc, char **argv)
{
	int kernel, initrd;

	if (argc == 2 && !strcmp(argv[1], "vmcore"))
		return print_log();
	if (argc != 5)
		return 2;
	kernel = open(argv[1], O_RDONLY);
	initrd = open(argv[2], O_RDONLY);
	if (kernel < 0 || initrd < 0 ||
	    syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3],
		    strcmp(argv[4], "crash") ? 0 : KEXEC_FILE_ON_CRASH)) {
		perror("kexec");
		return 1;
	}
	if (strcmp(argv[4], "go"))
		return 0;
	syscall(SYS_reboot, RB_MAGIC1, RB_MAGIC2, RB_KEXEC, NULL);
	perror("kexec");
	return 1;
}
