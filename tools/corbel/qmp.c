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

struct json_object *qmp_member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

struct json_object *json_pair(const char *key, struct json_object *value)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, key, value);
	return o;
}

/* The replacing is done in the answer itself, which nobody else reads. */
const char *qmp_text(struct json_object *o, const char *key)
{
	struct json_object *v = qmp_member(o, key);

	return v ? printable((char *)json_object_get_string(v), false) : "";
}

size_t qmp_count(struct json_object *o)
{
	return json_object_is_type(o, json_type_array) ? json_object_array_length(o) : 0;
}

/* Next object from the VMM, or NULL (errno). */
static struct json_object *receive_object(struct qmp *q, long deadline)
{
	struct pollfd p = {.fd = q->fd, .events = POLLIN};
	struct json_object *o;
	char *end;
	ssize_t n;

	while (!(end = memchr(q->buf, '\n', q->used))) {
		long left = deadline - now_ms();
		int ready = left > 0 ? poll(&p, 1, left) : 0;

		if (!ready) {
			errno = ETIMEDOUT;
			return NULL;
		}
		if (ready < 0) /* by a signal: there may be nothing to read */
			continue;
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
	hello = receive_object(q, now_ms() + timeout_ms);
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

/* Send a line, and a file with it unless fd is -1. 0 or -1 (errno). */
static int send_line(int socket, const char *line, int fd)
{
	struct iovec v = {.iov_base = (char *)line, .iov_len = strlen(line)};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = control.space;
		m.msg_controllen = sizeof(control.space);
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(int));
	}
	return sendmsg(socket, &m, MSG_NOSIGNAL) == (ssize_t)v.iov_len ? 0 : -1;
}

int qmp_call_within(struct qmp *q, long ms, const char *command, struct json_object *args, int fd,
		    struct json_object **ret, char *err)
{
	long deadline = now_ms() + ms;
	struct json_object *o = json_object_new_object(), *v;
	char *line = NULL;
	static int id; /* of the command: an answer that came too late is not the next one's */
	int failed;

	json_object_object_add(o, "execute", json_object_new_string(command));
	json_object_object_add(o, "id", json_object_new_int(++id));
	if (args)
		json_object_object_add(o, "arguments", args);
	failed = asprintf(&line, "%s\n", json_object_to_json_string(o)) < 0 ||
		 send_line(q->fd, line, fd);
	json_object_put(o);
	free(line);
	if (failed) {
		snprintf(err, 128, "%s", strerror(errno));
		return -1;
	}
	for (;;) {
		errno = ETIMEDOUT;
		o = now_ms() < deadline ? receive_object(q, deadline) : NULL;
		if (!o) {
			snprintf(err, 128, "%s",
				 errno == ETIMEDOUT ? QMP_NO_ANSWER : strerror(errno));
			return -1;
		}
		if (json_object_object_get_ex(o, "id", &v) && json_object_get_int(v) != id) {
			json_object_put(o);
			continue;
		}
		if (json_object_object_get_ex(o, "return", &v)) {
			if (ret)
				*ret = json_object_get(v);
			json_object_put(o);
			return 0;
		}
		if (json_object_object_get_ex(o, "error", &v)) {
			snprintf(err, 128, "%s", qmp_text(v, "desc"));
			json_object_put(o);
			return -1;
		}
		json_object_put(o); /* an event */
	}
}

int qmp_call(struct qmp *q, const char *command, struct json_object *args, int fd,
	     struct json_object **ret, char *err)
{
	return qmp_call_within(q, TIMEOUT_MS, command, args, fd, ret, err);
}

int qmp_command(struct qmp *q, const char *command, struct json_object **ret, char *err)
{
	return qmp_call(q, command, NULL, -1, ret, err);
}

int qmp_do(const char *name, const char *command)
{
	return qmp_do_with(name, command, NULL, NULL);
}

int qmp_need(struct qmp *q, const char *name)
{
	if (!qmp_open(q, name, TIMEOUT_MS))
		return 0;
	fail("%s: its VMM does not answer on the control socket (%s); `corbel destroy %s' ends it",
	     name, strerror(errno), name);
	return -1;
}

int qmp_do_with(const char *name, const char *command, struct json_object *args,
		struct json_object **answer)
{
	static struct qmp q;
	char err[128];
	int ret;

	if (qmp_need(&q, name)) {
		json_object_put(args);
		return -1;
	}
	ret = qmp_call(&q, command, args, -1, answer, err);
	qmp_close(&q);
	if (ret)
		fail("%s: the VMM refused %s: %s", name, command, err);
	return ret;
}

void qmp_status(const char *name, char *buf, size_t size)
{
	static struct qmp q;
	struct json_object *o = NULL;
	const char *status;
	char err[128];

	if (guest_is_at_work(name, buf, size)) /* and has the socket */
		return;
	snprintf(buf, size, "unresponsive");
	if (qmp_open(&q, name, STATUS_MS))
		return;
	qmp_command(&q, "query-status", &o, err);
	status = qmp_text(o, "status");
	if (*status)
		snprintf(buf, size, "%s", status);
	json_object_put(o);
	qmp_close(&q);
}
