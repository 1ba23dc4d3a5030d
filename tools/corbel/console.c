/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest's serial console on this terminal. */
#include "corbel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define DETACH	 0x1d /* Ctrl-] */
#define LOG_TAIL 2048

static struct termios saved;
static bool raw;

void terminal_restore(void)
{
	if (raw)
		tcsetattr(0, TCSANOW, &saved);
	raw = false;
}

static void on_signal(int sig)
{
	terminal_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

bool terminal_keys(void)
{
	struct termios t;

	if (!isatty(0) || tcgetattr(0, &saved))
		return false;
	t = saved;
	cfmakeraw(&t);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
	signal(SIGINT, on_signal);
	return raw = !tcsetattr(0, TCSANOW, &t);
}

static bool write_all(int fd, const char *buf, size_t n)
{
	ssize_t done;

	while (n) {
		done = write(fd, buf, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		buf += done;
		n -= done;
	}
	return true;
}

/* What the guest wrote last, from a line's begin on. */
static void show_tail(const char *name)
{
	char path[PATH_MAX], buf[LOG_TAIL], *from = buf;
	int fd = open(guest_path(name, "console.log", path), O_RDONLY | O_CLOEXEC);
	off_t size;
	ssize_t n;

	if (fd < 0)
		return;
	size = lseek(fd, 0, SEEK_END);
	n = pread(fd, buf, sizeof(buf), size > LOG_TAIL ? size - LOG_TAIL : 0);
	close(fd);
	if (size > LOG_TAIL && n > 0 && memchr(buf, '\n', n))
		from = (char *)memchr(buf, '\n', n) + 1;
	if (n > 0)
		write_all(1, from, buf + n - from);
}

static int open_socket(const char *name)
{
	int s = guest_connect(name, "console");

	if (s < 0)
		fail("%s: cannot open its console: %s; look into %s/%s/vmm.log", name,
		     strerror(errno), run_dir(), name);
	return s;
}

enum end { DETACHED, GUEST_ENDED, SILENT, OUTPUT_GONE };

/* Input that is on its way to the guest, which may take its time, or not read at all. */
struct input {
	char buf[4096];
	size_t n;
	bool ended, sent;
};

/* A guest that has ended is noticed by who reads from it. */
static void send_input(int s, struct input *in)
{
	ssize_t done = send(s, in->buf, in->n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (done > 0) {
		in->n -= done;
		memmove(in->buf, in->buf + done, in->n);
	} else if (errno != EAGAIN && errno != EINTR) {
		in->n = 0;
	}
}

/*
 * Keys for which there is no room are lost, as on a line without flow control: the one that
 * detaches is not. False: it was that one, or there never was any input.
 */
static bool take_input(struct input *in)
{
	char buf[sizeof(in->buf)], *detach;
	ssize_t n = read(0, buf, raw ? sizeof(buf) : sizeof(buf) - in->n);
	size_t taken;

	if (n <= 0) {
		in->ended = true; /* a script's: its last output may be to come */
		return in->sent;
	}
	in->sent = true;
	detach = raw ? memchr(buf, DETACH, n) : NULL;
	taken = detach ? detach - buf : n;
	if (taken > sizeof(in->buf) - in->n)
		taken = sizeof(in->buf) - in->n;
	memcpy(in->buf + in->n, buf, taken);
	in->n += taken;
	return !detach;
}

static enum end copy_console(int s, long timeout)
{
	struct input in = {};
	char buf[4096];
	ssize_t n;

	for (;;) {
		bool wants_keys = !in.ended && (raw || !in.n);
		struct pollfd p[2] = {{.fd = s, .events = POLLIN | (in.n ? POLLOUT : 0)},
				      {.fd = wants_keys ? 0 : -1, .events = POLLIN}};

		if (!timeout && in.ended && !in.n)
			timeout = 1;
		n = poll(p, 2, timeout ? timeout * 1000 : -1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			return SILENT;
		if (p[0].revents & ~POLLOUT) {
			n = read(s, buf, sizeof(buf));
			if (n <= 0)
				return GUEST_ENDED;
			if (!write_all(1, buf, n))
				return OUTPUT_GONE;
		}
		if (p[0].revents & POLLOUT)
			send_input(s, &in);
		if (p[1].revents && !take_input(&in)) {
			send_input(s, &in);
			return DETACHED;
		}
	}
}

/* Only one can be attached. The lock's fd, or -1 told. */
static int lock_console(const char *name)
{
	char path[PATH_MAX];
	int lock = open(guest_path(name, "console.lock", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (lock < 0) {
		fail("%s: %s", path, strerror(errno));
	} else if (flock(lock, LOCK_EX | LOCK_NB)) {
		close(lock);
		fail("somebody is attached to the console of %s; Ctrl-] there detaches", name);
		return -1;
	}
	return lock;
}

int console_open(const char *name)
{
	struct guest g;
	int lock, s;

	if (guest_get(name, true, &g))
		return -1;
	guest_unlock(&g);
	lock = lock_console(name);
	s = lock < 0 ? -1 : open_socket(name);
	if (lock >= 0)
		close(lock);
	return s;
}

int console_attach(const char *name, long timeout)
{
	int lock = lock_console(name), s;
	enum end end;

	if (lock < 0)
		return 1;
	s = open_socket(name);
	if (s < 0) {
		close(lock);
		return 1;
	}
	terminal_keys(); /* before anything is shown: who sees it may type */
	if (isatty(0)) {
		fprintf(stderr, "Console of %s, Ctrl-] detaches\r\n", name);
		show_tail(name);
	}
	end = copy_console(s, timeout);
	terminal_restore();
	close(s);
	close(lock);
	if (isatty(0))
		fprintf(stderr, "\r\n%s %s\n",
			end == GUEST_ENDED ? "The guest has ended:" : "Detached from", name);
	return end == OUTPUT_GONE ? fail("cannot write the output") : 0;
}
