/*
 * BGP neighbours for the benchmark of speakers, and an eye on the kernel's table of the namespace the speaker is in.
 *
 *   bgp-load table DUT IN OUT PREFIXES SETS MAXIMUM   two external peers: one in IN announces, one in OUT listens;
 *                                                     messages of MAXIMUM octets are offered (RFC 8654 above 4096)
 *   bgp-load sessions DUT IN COUNT ROUTES dial|listen COUNT internal peers in IN, each announces ROUTES prefixes
 *   bgp-load scale DUT IN COUNT ROUTES dial|listen    the same, with one prefix more, the watched one (20.250.0.0/26)
 *
 * DUT, IN and OUT are names of network namespaces. Lines on stdin: `announce` and `kill` (table); `announce` (the first
 * peer announces the watched prefix), `expect` (somebody else does) and `mute` (the first peer, whose hold time is the
 * shortest, says nothing any more) for scale: `told` when all other peers heard of it, `fib` when it is in the kernel, or
 * gone, or, for `mute`, when the first of that peer's own prefixes is. Lines on stdout: an
 * event, the monotonic clock in seconds, and for `told` how many UPDATEs came. UPDATEs are encoded beforehand, so the
 * peers cost next to nothing while the speaker works. Addresses are those of test/bench/lib/bgp-speakers.ts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SPEAKER_AS 65000
#define IN_AS 65001
#define OUT_AS 65002
#define HOLD_TIME 180
#define FIRST_PREFIX 0x14000000u /* 20.0.0.0 */
#define PREFIX_LENGTH 26
#define PREFIX_SIZE 64
#define SPEAKER 0xc6120001u /* 198.18.0.1 */
#define PEER_OUT 0xc6130002u
#define SAMPLES 32
#define WATCHED 0x14fa0000u /* 20.250.0.0 */
#define SHORT_HOLD_TIME 9

enum state { DOWN, CONNECTING, OPEN_SENT, OPEN_CONFIRM, ESTABLISHED, ENDED };

struct conn {
	int fd, listens;
	enum state state;
	uint32_t local, remote;
	uint16_t as;
	int netns;
	double retry_at, spoke_at;
	uint8_t *in;
	size_t in_length;
	const uint8_t *out;
	size_t out_length;
	int mute, heard;
	/* What it announces, by itself or when told to. */
	uint8_t *updates;
	size_t updates_length;
};

static struct conn *conns;
static int conn_count, up_count, own_netns, dut_netns, listener = -1;
static unsigned prefixes, maximum = 4096;
static uint8_t *told;
static unsigned told_count, update_count;
static int triestat, sample_socket;
static unsigned base_prefixes;
static int scale;
static unsigned heard_count;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void say(const char *what, unsigned count)
{
	printf("%s %.6f %u\n", what, now(), count);
	fflush(stdout);
}

static int open_netns(const char *name)
{
	char path[256];
	snprintf(path, sizeof path, "/run/netns/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(path);
	return fd;
}

static void enter(int netns)
{
	if (setns(netns, CLONE_NEWNET) < 0)
		fail("setns");
}

/* Writing messages */

static uint8_t *put16(uint8_t *p, unsigned v) { p[0] = v >> 8; p[1] = v; return p + 2; }
static uint8_t *put32(uint8_t *p, uint32_t v) { put16(p, v >> 16); return put16(p + 2, v); }

static uint8_t *header(uint8_t *p, int type)
{
	memset(p, 0xff, 16);
	p[18] = type;
	return p + 19;
}

static size_t finish(uint8_t *start, uint8_t *end)
{
	put16(start + 16, end - start);
	return end - start;
}

static size_t open_message(uint8_t *start, struct conn *c)
{
	static const uint8_t multiprotocol[] = { 1, 4, 0, 1, 0, 1 };
	uint8_t *p = header(start, 1), *length;
	*p++ = 4;
	p = put16(p, c->as);
	p = put16(p, scale && c == conns ? SHORT_HOLD_TIME : HOLD_TIME);
	p = put32(p, c->local);
	length = p;
	p += 3;
	memcpy(p, multiprotocol, sizeof multiprotocol);
	p += sizeof multiprotocol;
	*p++ = 65;
	*p++ = 4;
	p = put32(p, c->as);
	if (maximum > 4096) {
		*p++ = 6;
		*p++ = 0;
	}
	length[0] = p - length - 1;
	length[1] = 2;
	length[2] = p - length - 3;
	return finish(start, p);
}

/* Every set has a path of its own: MEDs, say, would not be passed on to another AS. */
static uint8_t *attributes(uint8_t *p, struct conn *c, unsigned set)
{
	int external = c->as != SPEAKER_AS;
	uint8_t *start = p;
	p += 2;
	*p++ = 0x40, *p++ = 1, *p++ = 1, *p++ = 0;
	*p++ = 0x40, *p++ = 2;
	*p++ = external ? 14 : 0;
	if (external) {
		*p++ = 2, *p++ = 3;
		p = put32(p, c->as);
		p = put32(p, 100000 + set / 1000);
		p = put32(p, 200000 + set % 1000);
	}
	*p++ = 0x40, *p++ = 3, *p++ = 4;
	p = put32(p, c->local);
	if (!external) {
		*p++ = 0x40, *p++ = 5, *p++ = 4;
		p = put32(p, 100);
	}
	put16(start, p - start - 2);
	return p;
}

/* Prefixes first, first + step, ... below end, as few UPDATEs as hold them. */
static uint8_t *updates(uint8_t *p, struct conn *c, unsigned set, unsigned first, unsigned end, unsigned step)
{
	for (unsigned i = first; i < end;) {
		uint8_t *start = p;
		p = put16(header(p, 2), 0);
		p = attributes(p, c, set);
		for (; i < end && p - start + 5 <= 4096; i += step) {
			*p++ = PREFIX_LENGTH;
			p = put32(p, FIRST_PREFIX + i * PREFIX_SIZE);
			p -= PREFIX_LENGTH > 24 ? 0 : 1;
		}
		finish(start, p);
	}
	return p;
}

/* Connections */

static void drop(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->state == ESTABLISHED)
		up_count--;
	c->fd = -1;
	c->in_length = c->out_length = 0;
	c->retry_at = now() + 0.01;
	if (c->mute)
		c->state = ENDED;
	if (c->state != ENDED)
		c->state = DOWN;
}

static void flush_out(struct conn *c)
{
	while (c->out_length > 0) {
		ssize_t size = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (size < 0) {
			if (errno != EAGAIN)
				drop(c);
			return;
		}
		c->out += size;
		c->out_length -= size;
	}
}

/* Small messages: the socket takes them whole. */
static void send_now(struct conn *c, const uint8_t *bytes, size_t length)
{
	if (send(c->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length)
		drop(c);
	c->spoke_at = now();
}

static void send_keepalive(struct conn *c)
{
	uint8_t message[19];
	if (c->out_length == 0)
		send_now(c, message, finish(message, header(message, 4)));
}

static void connected(struct conn *c)
{
	uint8_t message[128];
	c->state = OPEN_SENT;
	send_now(c, message, open_message(message, c));
}

static void dial(struct conn *c)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(c->local) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(179), .sin_addr.s_addr = htonl(c->remote) };
	enter(c->netns);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	enter(own_netns);
	if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0)
		fail("bind");
	c->state = CONNECTING;
	if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
		drop(c);
}

static void accept_all(void)
{
	for (;;) {
		struct sockaddr_in local;
		socklen_t length = sizeof local;
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (fd < 0)
			return;
		getsockname(fd, (struct sockaddr *)&local, &length);
		struct conn *found = NULL;
		for (int i = 0; i < conn_count; i++)
			if (conns[i].local == ntohl(local.sin_addr.s_addr) && conns[i].state == DOWN)
				found = &conns[i];
		if (found == NULL) {
			close(fd);
			continue;
		}
		found->fd = fd;
		connected(found);
	}
}

/* Reading messages */

static void count_prefixes(const uint8_t *p, const uint8_t *end, int announced)
{
	while (p < end) {
		unsigned bytes = (*p + 7) / 8;
		uint32_t address = 0;
		for (unsigned i = 0; i < 4; i++)
			address = address << 8 | (i < bytes ? p[1 + i] : 0);
		unsigned index = (address - FIRST_PREFIX) / PREFIX_SIZE;
		if (index < prefixes && told[index] != announced) {
			told[index] = announced;
			told_count += announced ? 1 : -1;
		}
		p += 1 + bytes;
	}
}

/* Whether the watched prefix is announced to it. */
static void watch_prefix(struct conn *c, const uint8_t *p, const uint8_t *end, int announced)
{
	for (; p < end; p += 1 + (*p + 7) / 8)
		if (*p == PREFIX_LENGTH && p[1] == WATCHED >> 24 && p[2] == (WATCHED >> 16 & 255) && c->heard != announced) {
			c->heard = announced;
			heard_count += announced ? 1 : -1;
		}
}

static void on_message(struct conn *c, int type, const uint8_t *body, size_t length)
{
	if (type == 3) {
		fprintf(stderr, "bgp-load: NOTIFICATION %u/%u in state %d\n", body[0], body[1], c->state);
		drop(c);
	} else if (type == 1 && c->state == OPEN_SENT) {
		c->state = OPEN_CONFIRM;
		send_keepalive(c);
	} else if (type == 4 && c->state == OPEN_CONFIRM) {
		c->state = ESTABLISHED;
		up_count++;
		if (c->updates_length > 0 && told == NULL)
			send_now(c, c->updates, c->updates_length);
		if (up_count == conn_count)
			say("up", up_count);
	} else if (type == 2 && scale) {
		unsigned withdrawn = body[0] << 8 | body[1];
		unsigned at = 2 + withdrawn, attributes_length = body[at] << 8 | body[at + 1];
		update_count++;
		watch_prefix(c, body + 2, body + 2 + withdrawn, 0);
		watch_prefix(c, body + at + 2 + attributes_length, body + length, 1);
	} else if (type == 2 && told != NULL && c == &conns[1]) {
		unsigned withdrawn = body[0] << 8 | body[1];
		unsigned at = 2 + withdrawn, attributes_length = body[at] << 8 | body[at + 1];
		if (length == 4)
			return;
		update_count++;
		count_prefixes(body + 2, body + 2 + withdrawn, 0);
		count_prefixes(body + at + 2 + attributes_length, body + length, 1);
	}
}

static void on_readable(struct conn *c)
{
	for (;;) {
		ssize_t size = recv(c->fd, c->in + c->in_length, 131072 - c->in_length, MSG_DONTWAIT);
		if (size <= 0) {
			if (size == 0 || errno != EAGAIN)
				drop(c);
			return;
		}
		c->in_length += size;
		size_t at = 0;
		while (c->in_length - at >= 19) {
			size_t length = c->in[at + 16] << 8 | c->in[at + 17];
			if (c->in_length - at < length)
				break;
			on_message(c, c->in[at + 18], c->in + at + 19, length - 19);
			if (c->fd < 0)
				return;
			at += length;
		}
		memmove(c->in, c->in + at, c->in_length - at);
		c->in_length -= at;
	}
}

/* The kernel's table: a few prefixes are asked for, all are counted (/proc/net/fib_triestat) once those are right. */

static unsigned kernel_prefixes(void)
{
	char text[4096], *found;
	ssize_t size = pread(triestat, text, sizeof text - 1, 0);
	if (size <= 0)
		fail("fib_triestat");
	text[size] = 0;
	found = strstr(text, "Main:");
	found = found ? strstr(found, "Prefixes:") : NULL;
	return found ? strtoul(found + 9, NULL, 10) : 0;
}

static int has_address(uint32_t address)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	to.sin_addr.s_addr = htonl(address);
	return connect(sample_socket, (struct sockaddr *)&to, sizeof to) == 0;
}

static int has_route(unsigned index)
{
	return has_address(FIRST_PREFIX + index * PREFIX_SIZE + 1);
}

static int table_holds(int wanted)
{
	if (has_route(prefixes - 1) != wanted || has_route(0) != wanted)
		return 0;
	for (unsigned i = 0; i < SAMPLES; i++)
		if (has_route((uint64_t)i * prefixes / SAMPLES) != wanted)
			return 0;
	return kernel_prefixes() == base_prefixes + (wanted ? prefixes : 0);
}

static void watch_table(void)
{
	enter(dut_netns);
	triestat = open("/proc/thread-self/net/fib_triestat", O_RDONLY);
	sample_socket = socket(AF_INET, SOCK_DGRAM, 0);
	enter(own_netns);
	if (triestat < 0 || sample_socket < 0)
		fail("fib_triestat");
	base_prefixes = kernel_prefixes();
}

static struct conn *add(int netns, uint32_t local, uint32_t remote, uint16_t as, int listens)
{
	struct conn *c = &conns[conn_count++];
	*c = (struct conn){ .fd = -1, .listens = listens, .local = local, .remote = remote, .as = as, .netns = netns };
	c->in = malloc(131072);
	return c;
}

static void prepare_table(char **argv)
{
	unsigned sets = strtoul(argv[6], NULL, 10);
	prefixes = strtoul(argv[5], NULL, 10);
	maximum = strtoul(argv[7], NULL, 10);
	told = calloc(prefixes, 1);
	conns = calloc(2, sizeof *conns);
	struct conn *in = add(open_netns(argv[3]), SPEAKER + 0x100, SPEAKER, IN_AS, 0);
	add(open_netns(argv[4]), PEER_OUT, SPEAKER, OUT_AS, 0);
	in->updates = malloc((size_t)prefixes * 6 + (size_t)sets * 128 + 8192);
	uint8_t *p = in->updates;
	/* A set of attributes is spread over the whole table. */
	for (unsigned set = 0; set < sets; set++)
		p = updates(p, in, set, set, prefixes, sets);
	in->updates_length = p - in->updates;
}

static void prepare_sessions(char **argv)
{
	int netns = open_netns(argv[3]), listens = strcmp(argv[6], "listen") == 0;
	unsigned count = strtoul(argv[4], NULL, 10), routes = strtoul(argv[5], NULL, 10);
	prefixes = count * routes;
	conns = calloc(count, sizeof *conns);
	for (unsigned i = 0; i < count; i++) {
		struct conn *c = add(netns, SPEAKER + 0x100 + (i / 250 << 8) + i % 250, SPEAKER, SPEAKER_AS, listens);
		c->updates = malloc(4096);
		c->updates_length = updates(c->updates, c, 0, i * routes, (i + 1) * routes, 1) - c->updates;
	}
	if (!listens)
		return;
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(179) };
	int one = 1;
	enter(netns);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	enter(own_netns);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&any, sizeof any) < 0 || listen(listener, 4096) < 0)
		fail("listen");
}

int main(int argc, char **argv)
{
	int table = argc > 1 && strcmp(argv[1], "table") == 0;
	scale = argc > 1 && strcmp(argv[1], "scale") == 0;
	if (argc != (table ? 8 : 7))
		return fprintf(stderr, "usage: see the source\n"), 2;
	own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	dut_netns = open_netns(argv[2]);
	if (table)
		prepare_table(argv);
	else
		prepare_sessions(argv);
	watch_table();
	say("ready", base_prefixes);

	struct pollfd *polled = calloc(conn_count + 2, sizeof *polled);
	int wait_fib = !table, wait_told = 0, wanted = 1;
	uint32_t wait_address = 0;
	unsigned hearers = 0;
	for (;;) {
		double time = now();
		for (int i = 0; i < conn_count; i++) {
			struct conn *c = &conns[i];
			if (c->state == DOWN && !c->listens && time >= c->retry_at)
				dial(c);
			if (c->state == ESTABLISHED && !c->mute && time > c->spoke_at + (scale && i == 0 ? SHORT_HOLD_TIME : HOLD_TIME) / 6.0)
				send_keepalive(c);
			polled[i] = (struct pollfd){ .fd = c->fd, .events = POLLIN };
			if (c->state == CONNECTING || c->out_length > 0)
				polled[i].events |= POLLOUT;
		}
		polled[conn_count] = (struct pollfd){ .fd = 0, .events = POLLIN };
		polled[conn_count + 1] = (struct pollfd){ .fd = listener, .events = POLLIN };
		poll(polled, conn_count + 2, up_count < conn_count || wait_fib ? 5 : 1000);
		if (polled[conn_count + 1].revents)
			accept_all();
		for (int i = 0; i < conn_count; i++) {
			struct conn *c = &conns[i];
			int events = polled[i].revents, error = 0;
			socklen_t length = sizeof error;
			if (events == 0 || c->fd != polled[i].fd)
				continue;
			if (c->state == CONNECTING) {
				getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
				if (error)
					drop(c);
				else
					connected(c);
				continue;
			}
			if (events & POLLOUT && c->out_length > 0) {
				flush_out(c);
				if (c->out_length == 0 && c->state == ESTABLISHED)
					say("sent", 0);
			}
			if (c->fd >= 0 && events & (POLLIN | POLLERR | POLLHUP))
				on_readable(c);
		}
		if (polled[conn_count].revents) {
			char line[64];
			ssize_t size = read(0, line, sizeof line);
			if (size <= 0)
				return 0;
			wanted = line[0] != 'k' && line[0] != 'm';
			update_count = 0;
			if (scale) {
				struct conn *first = &conns[0];
				static uint8_t message[128];
				uint8_t *p = put16(header(message, 2), 0);
				wait_told = 1;
				wait_fib = line[0] != 'e';
				wait_address = WATCHED;
				hearers = line[0] == 'e' ? conn_count : line[0] == 'a' ? conn_count - 1 : 0;
				say(line[0] == 'e' ? "expect" : line[0] == 'a' ? "announce" : "mute", 0);
				if (line[0] == 'a') {
					p = attributes(p, first, 0);
					*p++ = PREFIX_LENGTH;
					p = put32(p, WATCHED);
					send_now(first, message, finish(message, p));
				} else if (line[0] == 'm') {
					first->mute = 1;
					wait_address = FIRST_PREFIX + 1;
				}
				continue;
			}
			wait_fib = wait_told = 1;
			if (wanted) {
				say("announce", 0);
				conns[0].out = conns[0].updates;
				conns[0].out_length = conns[0].updates_length;
				flush_out(&conns[0]);
			} else {
				say("kill", 0);
				conns[0].state = ENDED;
				up_count--;
				conn_count = 2;
				drop(&conns[0]);
			}
		}
		if (wait_told && (scale ? heard_count == hearers : told_count == (wanted ? prefixes : 0))) {
			say("told", update_count);
			wait_told = 0;
		}
		if (wait_fib && (wait_address ? has_address(wait_address) == wanted : table_holds(wanted))) {
			say("fib", prefixes);
			wait_fib = 0;
		}
	}
}
