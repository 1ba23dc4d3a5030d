/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary bytes as what a VMM sends the tool: lines of JSON. The whole of it is there at once,
 * and then the VMM has gone. links: tools/corbel/qmp.c -ljson-c
 */
#include "fuzz.h"

#include <errno.h>
#include <json-c/json.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/corbel/corbel.h"

const char fuzz_what[] = "a VMM's answers are understood or refused";
const u32 fuzz_rounds = 10000;

static const u8 *sent;
static size_t sent_size;
static int vmm = -1; /* its end */

/* ---- of the rest of the tool ---- */

int guest_connect(const char *name, const char *socket_name)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return -1;
	if (vmm >= 0)
		close(vmm);
	vmm = ends[1];
	require(write(vmm, sent, sent_size) == (ssize_t)sent_size, "the socket takes it all");
	shutdown(vmm, SHUT_WR);
	return ends[0];
}

bool guest_is_at_work(const char *name, char *word, size_t size)
{
	return false;
}

char *printable(char *text, bool lines)
{
	require(text, "there is a text");
	return text;
}

int fail(const char *fmt, ...)
{
	return 1;
}

/* ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct qmp q;
	struct json_object *o = NULL;
	char err[128] = "", status[32];

	sent = data;
	sent_size = MIN(size, 100000u);
	if (!qmp_open(&q, "guest", 1000)) {
		if (qmp_command(&q, "query-status", &o, err))
			require(!o && memchr(err, 0, sizeof(err)), "an error is no answer");
		qmp_text(o, "status");
		qmp_count(o);
		json_object_put(o);
		require(q.used <= sizeof(q.buf), "no more is kept than there is room for");
		qmp_close(&q);
	}
	qmp_status("guest", status, sizeof(status));
	require(*status && memchr(status, 0, sizeof(status)), "a guest has a status");
	return 0;
}

size_t fuzz_make(u8 *to)
{
	static const char *const lines[] = {
	    "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}",
	    "{\"return\": {}}",
	    "{\"return\": {\"status\": \"running\", \"singlestep\": false}}",
	    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}",
	    "{\"error\": 3}",
	    "{\"timestamp\": {\"seconds\": 1}, \"event\": \"STOP\"}",
	    "[1, 2, {\"return\": []}]",
	    "null",
	    "",
	    "{\"return\": [[[[{}]]]]}",
	    "{\"error\": {\"desc\": null}}",
	    "1e99999",
	    "{\"return\": {\"status\": 7}}",
	    "{\"a\\u0000b\": \"\\ud800\"}"};
	size_t n = 0;

	if (fuzz_random(4))
		n = sprintf((char *)to, "%s\n%s\n", lines[0], lines[1]);
	for (u64 left = fuzz_random(6); left; left--)
		n += sprintf((char *)to + n, "%s\n", FUZZ_PICK(lines));
	return n;
}
