/*
 * Traffic for the datapath benchmark.
 *
 *   traffic serve                              takes everything on port 5000 of both protocols; each line on stdin is
 *                                              answered by `TCP-BYTES UDP-PACKETS CONNECTIONS` taken so far
 *   traffic bulk|packets|connections ADDRESS SECONDS
 *                                              sends as fast as it can; prints the seconds it took, and the microseconds
 *                                              of a call when nothing else had the CPU: the tenth percentile
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT 5000
#define BATCH 64
#define PAYLOAD 64

static _Atomic long long bytes, packets, connections;

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

static struct sockaddr_in address_of(const char *text)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
		fail(text);
	return address;
}

static void *drain(void *argument)
{
	int fd = (int)(long)argument;
	char *buffer = malloc(1 << 18);
	ssize_t size;
	while ((size = recv(fd, buffer, 1 << 18, 0)) > 0)
		bytes += size;
	free(buffer);
	close(fd);
	return NULL;
}

static void *take_packets(void *argument)
{
	static char payloads[BATCH][2048];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH] = { 0 };
	int fd = (int)(long)argument, got;
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ payloads[i], sizeof payloads[i] };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while ((got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL)) > 0)
		packets += got;
	return NULL;
}

static void *take_connections(void *argument)
{
	int listener = (int)(long)argument, fd;
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == ECONNABORTED) {
		if (fd < 0)
			continue;
		connections++;
		/* A connection of the connection test is over before it is looked at; one with data has a thread of its own. */
		char first;
		ssize_t size = recv(fd, &first, 1, MSG_DONTWAIT);
		pthread_t thread;
		if (size < 0 && errno != EAGAIN)
			close(fd);
		else if (size == 0)
			close(fd);
		else if (pthread_create(&thread, NULL, drain, (void *)(long)fd) == 0)
			pthread_detach(thread);
	}
	return NULL;
}

static int serve(void)
{
	struct sockaddr_in any = address_of("0.0.0.0");
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1, large = 8 << 20;
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
	if (bind(tcp, (struct sockaddr *)&any, sizeof any) < 0 || listen(tcp, 4096) < 0)
		fail("TCP port");
	if (bind(udp, (struct sockaddr *)&any, sizeof any) < 0)
		fail("UDP port");
	pthread_t thread;
	pthread_create(&thread, NULL, take_packets, (void *)(long)udp);
	pthread_create(&thread, NULL, take_connections, (void *)(long)tcp);
	printf("ready\n");
	fflush(stdout);
	char line[16];
	while (fgets(line, sizeof line, stdin)) {
		printf("%lld %lld %lld\n", (long long)bytes, (long long)packets, (long long)connections);
		fflush(stdout);
	}
	return 0;
}

static int connect_to(struct sockaddr_in *to, int type)
{
	int fd = socket(AF_INET, type, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)to, sizeof *to) < 0)
		fail("connect");
	return fd;
}

/* Durations of calls by the quarter of a microsecond: what a veth takes is delivered before the call returns. */
static unsigned int durations[1 << 16];
static double last;

static int again(double end)
{
	double t = now();
	unsigned int i = last == 0 ? 0 : (t - last) * 4e6;
	if (last != 0)
		durations[i < 65535 ? i : 65535]++;
	last = t;
	return t < end;
}

static double undisturbed(void)
{
	long long all = 0, below = 0;
	int i;
	for (i = 0; i < 65536; i++)
		all += durations[i];
	for (i = 0; i < 65535 && below * 10 <= all; i++)
		below += durations[i];
	return i / 4.0;
}

static void bulk(struct sockaddr_in *to, double end)
{
	static char block[1 << 17];
	int fd = connect_to(to, SOCK_STREAM);
	while (again(end))
		if (send(fd, block, sizeof block, 0) < 0)
			fail("send");
	close(fd);
}

static void send_packets(struct sockaddr_in *to, double end)
{
	static char payload[PAYLOAD];
	struct iovec part = { payload, sizeof payload };
	struct mmsghdr messages[BATCH] = { 0 };
	for (int i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int fd = connect_to(to, SOCK_DGRAM);
	while (again(end))
		if (sendmmsg(fd, messages, BATCH, 0) < 0 && errno != ENOBUFS)
			fail("sendmmsg");
}

static void open_connections(struct sockaddr_in *to, double end)
{
	struct linger none = { 1, 0 };
	while (again(end)) {
		int fd = connect_to(to, SOCK_STREAM);
		/* By reset: nothing is left waiting, neither here nor there. */
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
		close(fd);
	}
}

int main(int count, char **words)
{
	signal(SIGPIPE, SIG_IGN);
	if (count == 2 && strcmp(words[1], "serve") == 0)
		return serve();
	if (count != 4)
		return 2;
	struct sockaddr_in to = address_of(words[2]);
	double begin = now(), end = begin + atof(words[3]);
	if (strcmp(words[1], "bulk") == 0)
		bulk(&to, end);
	else if (strcmp(words[1], "packets") == 0)
		send_packets(&to, end);
	else
		open_connections(&to, end);
	printf("%f %f\n", now() - begin, undisturbed());
	return 0;
}
