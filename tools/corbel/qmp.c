/* SPDX-License-Identifier: GPL-2.0-only */
/* QEMU's control protocol: JSON objects, one a line, over a UNIX socket. */
#define _GNU_SOURCE
#include "corbel.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 5000
#define STATUS_MS  3000

long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Next object from the VMM, or NULL (errno). */
static struct json_object *receive(struct qmp *q, long deadline)
{
	struct pollfd p = {.fd = q->fd, .events = POLLIN};
	struct json_object *o;
	char *end;
	ssize_t n;

	while (!(end = memchr(q->buf, '\n', q->used))) {
		long left = deadline - now_ms();

		if (left <= 0 || !poll(&p, 1, left)) {
			errno = ETIMEDOUT;
			return NULL;
		}
		n = read(q->fd, q->buf + q->used, sizeof(q->buf) - q->used);
		if (n == 0)
			errno = ECONNRESET;
		if (n <= 0 && errno != EINTR)
			return NULL;
		q->used += n > 0 ? n : 0;
	}
	*end++ = 0;
	o = json_tokener_parse(q->buf);
	q->used -= end - q->buf;
	memmove(q->buf, end, q->used);
	if (!o)
		errno = EPROTO;
	return o;
}

void qmp_close(struct qmp *q)
{
	close(q->fd);
	q->fd = -1;
}

int qmp_open(struct qmp *q, const char *name, int timeout_ms)
{
	char err[128];
	struct json_object *hello;

	q->used = 0;
	q->fd = guest_connect(name, "qmp");
	if (q->fd < 0)
		return -1;
	hello = receive(q, now_ms() + timeout_ms);
	if (!hello)
		goto out;
	json_object_put(hello);
	if (!qmp_command(q, "qmp_capabilities", NULL, err))
		return 0;
	errno = EPROTO;
out:
	close(q->fd);
	return -1;
}

int qmp_command(struct qmp *q, const char *command, struct json_object **ret, char *err)
{
	long deadline = now_ms() + TIMEOUT_MS;
	struct json_object *o, *v;
	char line[128];
	int n = snprintf(line, sizeof(line), "{\"execute\":\"%s\"}\n", command);

	if (send(q->fd, line, n, MSG_NOSIGNAL) != n) {
		snprintf(err, 128, "%s", strerror(errno));
		return -1;
	}
	for (;;) {
		o = receive(q, deadline);
		if (!o) {
			snprintf(err, 128, "%s",
				 errno == ETIMEDOUT ? "no answer" : strerror(errno));
			return -1;
		}
		if (json_object_object_get_ex(o, "return", &v)) {
			if (ret)
				*ret = json_object_get(v);
			json_object_put(o);
			return 0;
		}
		if (json_object_object_get_ex(o, "error", &v)) {
			json_object_object_get_ex(v, "desc", &v);
			snprintf(err, 128, "%s", json_object_get_string(v));
			json_object_put(o);
			return -1;
		}
		json_object_put(o); /* an event */
	}
}

int qmp_do(const char *name, const char *command)
{
	static struct qmp q;
	char err[128];
	int ret;

	if (qmp_open(&q, name, TIMEOUT_MS)) {
		fail("%s: its VMM does not answer on the control socket (%s); `corbel destroy %s' "
		     "ends it",
		     name, strerror(errno), name);
		return -1;
	}
	ret = qmp_command(&q, command, NULL, err);
	qmp_close(&q);
	if (ret)
		fail("%s: the VMM refused %s: %s", name, command, err);
	return ret;
}

void qmp_status(const char *name, char *buf, size_t size)
{
	static struct qmp q;
	struct json_object *o = NULL, *v;
	char err[128];

	snprintf(buf, size, "unresponsive");
	if (qmp_open(&q, name, STATUS_MS))
		return;
	if (!qmp_command(&q, "query-status", &o, err) && json_object_object_get_ex(o, "status", &v))
		snprintf(buf, size, "%s", json_object_get_string(v));
	json_object_put(o);
	qmp_close(&q);
}
