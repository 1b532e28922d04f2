/*
 * The CNI plugin `manx`: the file a container runtime executes. It holds no knowledge of networking: it hands its
 * environment and stdin to felix over <runDir>/cni.sock (framing: protocol.ts), prints felix's answer and exits with
 * felix's code. It answers by itself
 *   - VERSION;
 *   - what is no use to felix: stdin that is not JSON (code 6), a broken environment (code 4);
 *   - when felix is away, dies half-way or does not answer in time: ADD, CHECK, GC "try again later" (code 11),
 *     STATUS "not available" (code 50), and a DEL is remembered in <runDir>/pending-dels, to be done when felix is back.
 * Netconf keys read: "cniVersion" and "runDir" (default /run/manx), both at the top level.
 * Built static, so that it runs on any host: build-shim.ts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MANX_SHIM_SOURCE
#define MANX_SHIM_SOURCE "unknown"
#endif
__attribute__((used)) static const char source_mark[] = "manx-shim-source:" MANX_SHIM_SOURCE;

enum { MAX_STDIN = 1 << 20, MAX_ENV = 64 << 10, MAX_REPLY = 4 << 20, MAX_DEPTH = 64, HEADER = 12 };
enum { ADD_SECONDS = 60, OTHER_SECONDS = 30 };
enum { BAD_ENVIRONMENT = 4, IO_FAILURE = 5, BAD_JSON = 6, BAD_CONFIG = 7, TRY_LATER = 11, NOT_AVAILABLE = 50 };

extern char **environ;
static char cni_version[16] = "1.1.0";
static char run_dir[256] = "/run/manx";
static struct timespec deadline;

/* ---- answers of our own ---- */

static void put_json(const char *s) {
	for (; *s; s++) {
		unsigned char c = *s;
		if (c == '"' || c == '\\') printf("\\%c", c);
		else if (c < 0x20) printf("\\u%04x", c);
		else putchar(c);
	}
}

static int fail(int code, const char *msg, const char *details) {
	printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"", cni_version, code);
	put_json(msg);
	printf("\",\"details\":\"");
	put_json(details);
	puts("\"}");
	fflush(stdout);
	return 1;
}

static int answer_version(void) {
	printf("{\"cniVersion\":\"%s\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n", cni_version);
	return fflush(stdout) ? 1 : 0;
}

/* ---- JSON: checks the whole text, keeps two strings of the top level ---- */

struct scan { const char *p, *end; };

static int blank(struct scan *s) {
	while (s->p < s->end && strchr(" \t\r\n", *s->p) && *s->p) s->p++;
	return s->p < s->end ? (unsigned char)*s->p : -1;
}

/* One string. It is unescaped into out (size bytes); one that is too long or has a \u escape leaves out empty. */
static int scan_string(struct scan *s, char *out, size_t size) {
	size_t n = 0;
	if (blank(s) != '"') return 0;
	for (s->p++; s->p < s->end; s->p++) {
		unsigned char c = *s->p;
		if (c == '"') {
			if (out) out[n < size ? n : 0] = 0;
			s->p++;
			return 1;
		}
		if (c < 0x20) return 0;
		if (c == '\\') {
			if (++s->p >= s->end) return 0;
			static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
			c = *s->p;
			if (c == 'u') {
				for (int i = 0; i < 4; i++)
					if (++s->p >= s->end || !strchr("0123456789abcdefABCDEF", *s->p) || !*s->p) return 0;
				n = size;
				continue;
			}
			const char *at = c ? strchr(from, c) : NULL;
			if (!at) return 0;
			c = to[at - from];
		}
		if (out && n < size) out[n++] = c;
	}
	return 0;
}

static int scan_number(struct scan *s) {
	char text[64];
	size_t n = 0;
	while (s->p < s->end && n < sizeof text - 1 && *s->p && strchr("+-.0123456789eE", *s->p)) text[n++] = *s->p++;
	text[n] = 0;
	char *rest;
	strtod(text, &rest);
	return n > 0 && *rest == 0 && text[0] != '+' && text[0] != '.';
}

static int scan_value(struct scan *s, int depth) {
	int c = blank(s);
	if (depth > MAX_DEPTH) return 0;
	if (c == '"') return scan_string(s, NULL, 0);
	if (c != '{' && c != '[') {
		static const char *words[] = {"true", "false", "null"};
		for (int i = 0; i < 3; i++) {
			size_t n = strlen(words[i]);
			if ((size_t)(s->end - s->p) >= n && !memcmp(s->p, words[i], n)) return s->p += n, 1;
		}
		return scan_number(s);
	}
	char close = c == '{' ? '}' : ']';
	s->p++;
	if (blank(s) == close) return s->p++, 1;
	for (;;) {
		char key[16] = "";
		if (c == '{') {
			if (!scan_string(s, key, sizeof key) || blank(s) != ':') return 0;
			s->p++;
		}
		int top = c == '{' && depth == 0 && blank(s) == '"';
		if (top && !strcmp(key, "runDir")) {
			if (!scan_string(s, run_dir, sizeof run_dir)) return 0;
		} else if (top && !strcmp(key, "cniVersion")) {
			char version[sizeof cni_version] = "";
			if (!scan_string(s, version, sizeof version)) return 0;
			if (*version && strspn(version, "0123456789.") == strlen(version)) strcpy(cni_version, version);
		} else if (!scan_value(s, depth + 1)) {
			return 0;
		}
		int next = blank(s);
		if (next < 0) return 0;
		s->p++;
		if (next == close) return 1;
		if (next != ',') return 0;
	}
}

static int scan_netconf(const char *text, size_t length) {
	struct scan s = {text, text + length};
	return blank(&s) == '{' && scan_value(&s, 0) && blank(&s) == -1;
}

/* ---- reading and writing against the deadline ---- */

static int wait_for(int fd, short events) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	long left = (deadline.tv_sec - now.tv_sec) * 1000 + (deadline.tv_nsec - now.tv_nsec) / 1000000;
	struct pollfd p = {.fd = fd, .events = events};
	return left > 0 && poll(&p, 1, left) > 0;
}

/* Reads until size bytes are there, EOF, an error or the deadline; returns how many, -1 for the latter two. */
static ssize_t read_up_to(int fd, char *buffer, size_t size) {
	size_t n = 0;
	while (n < size) {
		if (!wait_for(fd, POLLIN)) return -1;
		ssize_t got = read(fd, buffer + n, size - n);
		if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
		if (got < 0) return -1;
		if (got == 0) break;
		n += got;
	}
	return n;
}

static int write_all(int fd, const char *buffer, size_t size, int is_socket) {
	while (size > 0) {
		if (is_socket && !wait_for(fd, POLLOUT)) return 0;
		ssize_t put = is_socket ? send(fd, buffer, size, MSG_NOSIGNAL) : write(fd, buffer, size);
		if (put < 0 && (errno == EINTR || errno == EAGAIN)) continue;
		if (put <= 0) return 0;
		buffer += put;
		size -= put;
	}
	return 1;
}

static uint32_t be32(const char *p) {
	uint32_t value;
	memcpy(&value, p, 4);
	return ntohl(value);
}

static void put_be32(char *p, uint32_t value) {
	value = htonl(value);
	memcpy(p, &value, 4);
}

/* ---- felix ---- */

/* Asks felix. Returns the exit code and the reply in *body, or -1 with the reason in why: felix did not answer. */
static int ask_felix(const char *request, size_t size, char **body, size_t *body_size, char *why, size_t why_size) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s/cni.sock", run_dir) >= sizeof address.sun_path) {
		snprintf(why, why_size, "the socket path %s/cni.sock is too long: set a shorter runDir in the CNI configuration", run_dir);
		return -1;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		snprintf(why, why_size, "connecting to felix at %s failed: %s", address.sun_path, strerror(errno));
		return -1;
	}
	char header[HEADER];
	snprintf(why, why_size, "felix closed %s without a complete answer, or gave none in time", address.sun_path);
	if (!write_all(fd, request, size, 1)) return -1;
	if (read_up_to(fd, header, HEADER) != HEADER || memcmp(header, "MNX1", 4)) return -1;
	*body_size = be32(header + 8);
	if (*body_size > MAX_REPLY || !(*body = malloc(*body_size + 1))) return -1;
	return read_up_to(fd, *body, *body_size) == (ssize_t)*body_size ? (int)(be32(header + 4) & 255) : -1;
}

/* Writes the request where felix looks for DELs not yet done; complete or not at all. */
static int remember(const char *id, const char *ifname, const char *request, size_t size) {
	char dir[320], temp[640], path[640];
	mkdir(run_dir, 0755);
	snprintf(dir, sizeof dir, "%s/pending-dels", run_dir);
	mkdir(dir, 0700);
	snprintf(temp, sizeof temp, "%s/.%d.tmp", dir, (int)getpid());
	snprintf(path, sizeof path, "%s/%s:%s", dir, id, ifname);
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int ok = fd >= 0 && write_all(fd, request, size, 0) && close(fd) == 0 && rename(temp, path) == 0;
	if (!ok) unlink(temp);
	return ok;
}

/* ---- environment ---- */

static const char alphanumeric[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* CNI spec: starts alphanumeric, then alphanumerics, "_", ".", "-"; at most 180 so that the veth's alias holds it. */
static int valid_id(const char *id) {
	size_t n = strlen(id);
	return n > 0 && n <= 180 && strchr(alphanumeric, id[0]) &&
		strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-") == n;
}

/* CNI spec and net/core/dev.c dev_valid_name(): 1 to 15 bytes, no "/", ":" or blank, not "." or "..". */
static int valid_ifname(const char *name) {
	size_t n = strlen(name);
	if (n == 0 || n > 15 || !strcmp(name, ".") || !strcmp(name, "..")) return 0;
	for (; *name; name++)
		if (*name == '/' || *name == ':' || (unsigned char)*name <= 0x20 || *name == 0x7f) return 0;
	return 1;
}

static const char *variable(const char *name) {
	const char *value = getenv(name);
	return value ? value : "";
}

int main(void) {
	static char request[HEADER + MAX_ENV + MAX_STDIN + 1];
	const char *command = variable("CNI_COMMAND"), *id = variable("CNI_CONTAINERID"), *ifname = variable("CNI_IFNAME");
	int is_add = !strcmp(command, "ADD"), is_del = !strcmp(command, "DEL"), is_check = !strcmp(command, "CHECK");
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += is_add ? ADD_SECONDS : OTHER_SECONDS;

	size_t env_size = 0;
	for (char **e = environ; *e; e++) {
		size_t n = strlen(*e) + 1;
		if (strncmp(*e, "CNI_", 4)) continue;
		if (env_size + n > MAX_ENV) return fail(BAD_ENVIRONMENT, "invalid environment", "the CNI_ variables exceed 64 KiB");
		memcpy(request + HEADER + env_size, *e, n);
		env_size += n;
	}
	char *text = request + HEADER + env_size;
	ssize_t length = read_up_to(STDIN_FILENO, text, MAX_STDIN + 1);
	if (length < 0) return fail(IO_FAILURE, "I/O failure", "reading the network configuration from stdin failed");
	if (length > MAX_STDIN) return fail(BAD_JSON, "network configuration too large", "more than 1 MiB on stdin");
	int is_json = scan_netconf(text, length);

	if (!strcmp(command, "VERSION")) return answer_version();
	if (!is_json)
		return fail(BAD_JSON, "failed to decode the network configuration",
			"stdin is not one JSON object: give the plugin its network configuration");
	if (!is_add && !is_del && !is_check && strcmp(command, "GC") && strcmp(command, "STATUS"))
		return fail(BAD_ENVIRONMENT, "invalid environment", "CNI_COMMAND must be ADD, DEL, CHECK, GC, STATUS or VERSION");
	if (is_add || is_del || is_check) {
		if (!valid_id(id)) return fail(BAD_ENVIRONMENT, "invalid environment", "CNI_CONTAINERID is missing or malformed");
		if (!valid_ifname(ifname)) return fail(BAD_ENVIRONMENT, "invalid environment", "CNI_IFNAME is missing or malformed");
	}
	if (run_dir[0] != '/') return fail(BAD_CONFIG, "invalid network configuration", "runDir must be an absolute path of at most 255 bytes");

	memcpy(request, "MNX1", 4);
	put_be32(request + 4, env_size);
	put_be32(request + 8, length);
	size_t size = HEADER + env_size + length, body_size = 0;
	char *body = NULL, why[512] = "";
	int code = ask_felix(request, size, &body, &body_size, why, sizeof why);
	if (code >= 0) return write_all(STDOUT_FILENO, body, body_size, 0) ? code : 1;
	if (!is_del)
		return strcmp(command, "STATUS")
			? fail(TRY_LATER, "felix is not available, try again later", why)
			: fail(NOT_AVAILABLE, "felix is not available", why);
	if (remember(id, ifname, request, size)) return 0;
	return fail(TRY_LATER, "felix is not available and the DEL could not be remembered, try again later", why);
}
