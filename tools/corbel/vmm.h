/* SPDX-License-Identifier: GPL-2.0-only */
/* The start of a guest's VMM: what its process (vmm.c) and its command line (vmm_args.c) share. */
#ifndef TOOLS_CORBEL_VMM_H
#define TOOLS_CORBEL_VMM_H

#include "corbel.h"

#include <string.h>

#define MAX_ARGV 320

struct start {
	struct cfg *c;
	const char *accel;
	struct guest g;
	char vmm[PATH_MAX];   /* the program */
	char swtpm[PATH_MAX]; /* another, if there is to be a TPM */
	char tpm_dir[PATH_MAX + 8];
	int tpm[2]; /* a connection: QEMU's end, and swtpm's; -1 = none */
	char *argv[MAX_ARGV + 1];
	int argc;
	int nboot;		   /* devices that have a place in the boot order */
	const struct origin *from; /* NULL: it boots */
	int tap[CFG_MAX_VIFS];
	char tap_name[CFG_MAX_VIFS][16];
};

static inline bool is_tcg(const struct start *s)
{
	return !strncmp(s->accel, "tcg", 3);
}

/* Fill in argv, of which each word is allocated, for what has been found and opened. */
void vmm_args(struct start *s);
/*
 * In the VMM's process, before it is that: where all the guest's CPUs are one node's, memory comes
 * from there as long as there is any. Not if a policy is in force already.
 */
void node_prefer(const struct cfg *c);

#endif
