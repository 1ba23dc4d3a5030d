/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Another kernel in place of the one that runs, as kexec-tools' `kexec -l` or `-p` load it.
 *
 * usage: kexec KERNEL INITRD CMDLINE go	it starts at once, nothing is shut down before
 *        kexec KERNEL INITRD CMDLINE crash	it is kept for a crash of this one
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#define KEXEC_FILE_ON_CRASH 2
#define RB_MAGIC1	    0xfee1dead
#define RB_MAGIC2	    0x28121969
#define RB_KEXEC	    0x45584543

int main(int argc, char **argv)
{
	int kernel, initrd;

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
