/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs a VMM and copies what it prints. When its guest says `bench: init', prints the row
 * guest-boot, runs a command that reads the counters, and sends the guest a line.
 *
 * usage: launch COMMAND VMM ARG...
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	unsigned long long t = __builtin_ia32_rdtsc();
	char line[512];
	int in[2], out[2];
	FILE *f;

	if (argc < 3 || pipe(in) || pipe(out))
		errx(2, "usage: launch COMMAND VMM ARG...");
	if (!fork()) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		execvp(argv[2], argv + 2);
		err(1, "%s", argv[2]);
	}
	close(in[0]);
	close(out[1]);
	f = fdopen(out[0], "r");
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "bench: init")) {
			t = __builtin_ia32_rdtsc() - t;
			printf("row guest-boot %llu %llu %llu\n", t, t, t);
			fflush(stdout);
			if (system(argv[1]))
				puts("no counters");
			if (write(in[1], "\n", 1) != 1)
				warn("the guest's console");
		} else {
			fputs(line, stdout);
		}
	}
	wait(NULL);
	return 0;
}
