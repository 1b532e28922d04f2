/*
 * Times programs as a small parent sees them, from starting one to its end. Each line of stdin names an input file and
 * a command, blank between words: `INPUT PROGRAM ARGUMENT...`. Each is answered by a line `STATUS NANOSECONDS`.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(void)
{
	static char line[65536];
	while (fgets(line, sizeof line, stdin)) {
		char *words[64];
		int count = 0;
		for (char *word = strtok(line, " \n"); word && count < 63; word = strtok(NULL, " \n"))
			words[count++] = word;
		words[count] = NULL;
		if (count < 2)
			continue;
		int input = open(words[0], O_RDONLY | O_CLOEXEC), nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
		posix_spawn_file_actions_t actions;
		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_adddup2(&actions, input, 0);
		posix_spawn_file_actions_adddup2(&actions, nothing, 1);
		struct timespec begin, end;
		pid_t child;
		int status = -1;
		clock_gettime(CLOCK_MONOTONIC, &begin);
		if (posix_spawnp(&child, words[1], &actions, NULL, words + 1, environ) == 0)
			waitpid(child, &status, 0);
		clock_gettime(CLOCK_MONOTONIC, &end);
		posix_spawn_file_actions_destroy(&actions);
		close(input);
		close(nothing);
		printf("%d %lld\n", status, (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec);
		fflush(stdout);
	}
	return 0;
}
