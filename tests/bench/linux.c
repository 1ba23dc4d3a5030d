/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The only program of the bench's Linux guest: as /init it loads the modules /modules/0, 1, ...,
 * says that it is there, waits for a line on the console, and prints `row NAME MIN MEDIAN MEAN` in
 * TSC ticks.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/bench/row.h"

#define ADDRESS "172.31.0.77"
#define PEER	"172.31.0.1" /* dom0's bridge */
#define MAX	500

static uint64_t sample[MAX];

static uint64_t tsc(void)
{
	return __builtin_ia32_rdtsc();
}

static void cpu_loop(void)
{
	uint64_t t, count;
	int i;

	for (i = 0; i < 5; i++) {
		count = 5000000;
		t = tsc();
		asm volatile("1: dec %0; jnz 1b" : "+r"(count));
		sample[i] = tsc() - t;
	}
	row("cpu-loop", sample, i);
}

static void fork_exec(void)
{
	static char *const args[] = {"/init", "exit", NULL}, *const env[] = {NULL};
	uint64_t t;
	pid_t pid;
	int i;

	for (i = 0; i < 40; i++) {
		t = tsc();
		pid = fork();
		if (!pid) {
			execve(args[0], args, env);
			_exit(1);
		}
		waitpid(pid, NULL, 0);
		sample[i] = tsc() - t;
	}
	row("fork-exec", sample, i);
}

/* There and back through two pipes: two switches. */
static void ctx_switch(void)
{
	int to[2], from[2], i;
	uint64_t t;
	char c = 0;
	pid_t pid;

	if (pipe(to) || pipe(from))
		return;
	pid = fork();
	if (!pid) {
		while (read(to[0], &c, 1) == 1 && !c && write(from[1], &c, 1) == 1)
			;
		_exit(0);
	}
	for (i = 0; i < 200; i++) {
		t = tsc();
		if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
			return;
		sample[i] = tsc() - t;
	}
	row("ctx-switch", sample, i);
	c = 1;
	if (write(to[1], &c, 1) == 1)
		waitpid(pid, NULL, 0);
}

static void disk_read(const char *name, size_t bytes, int n)
{
	int fd = open("/dev/vda", O_RDONLY | O_DIRECT), i;
	char *buf = aligned_alloc(4096, bytes);
	uint64_t t;

	if (fd < 0)
		return;
	memset(buf, 0, bytes);
	for (i = 0; i < n; i++) {
		t = tsc();
		if (pread(fd, buf, bytes, (i * bytes) & ((4 << 20) - 1)) != (ssize_t)bytes)
			return perror("/dev/vda");
		sample[i] = tsc() - t;
	}
	row(name, sample, i);
	close(fd);
	free(buf);
}

static uint16_t checksum(const void *p, int words)
{
	const uint16_t *w = p;
	uint32_t sum = 0;

	while (words--)
		sum += *w++;
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* An echo request to dom0's kernel and the answer. */
static void net_rtt(void)
{
	struct sockaddr_in *a, peer = {.sin_family = AF_INET};
	struct icmphdr h = {.type = ICMP_ECHO};
	struct timeval limit = {.tv_sec = 1};
	struct ifreq r = {.ifr_name = "eth0"};
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), i;
	char buf[256];
	uint64_t t;

	a = (struct sockaddr_in *)&r.ifr_addr;
	a->sin_family = AF_INET;
	inet_pton(AF_INET, ADDRESS, &a->sin_addr);
	inet_pton(AF_INET, PEER, &peer.sin_addr);
	if (ioctl(s, SIOCSIFADDR, &r) ||
	    (r.ifr_flags = IFF_UP | IFF_RUNNING, ioctl(s, SIOCSIFFLAGS, &r)))
		return;
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (i = 0; i < 100; i++) {
		h.un.echo.sequence = i;
		h.checksum = 0;
		h.checksum = checksum(&h, sizeof(h) / 2);
		t = tsc();
		sendto(s, &h, sizeof(h), 0, (struct sockaddr *)&peer, sizeof(peer));
		if (recv(s, buf, sizeof(buf), 0) < 0)
			return perror("echo");
		sample[i] = tsc() - t;
	}
	row("net-rtt", sample, i);
}

static void load_modules(void)
{
	char path[32];
	int i, fd;

	for (i = 0;; i++) {
		snprintf(path, sizeof(path), "/modules/%d", i);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0))
			perror(path);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	char c;

	if (argc > 1 && !strcmp(argv[1], "exit"))
		_exit(0);
	puts("bench: init");
	fflush(stdout);
	if (read(0, &c, 1) != 1)
		puts("no line");
	if (mount("dev", "/dev", "devtmpfs", 0, NULL))
		perror("/dev");
	load_modules();
	cpu_loop();
	fork_exec();
	ctx_switch();
	disk_read("virtio-blk-4k", 4096, 200);
	disk_read("virtio-blk-1m", 1 << 20, 20);
	net_rtt();
	puts("end");
	fflush(stdout);
	sleep(1); /* lets the console drain */
	reboot(RB_AUTOBOOT);
	return 1;
}
