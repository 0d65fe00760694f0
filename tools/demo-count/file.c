// SPDX-License-Identifier: Apache-2.0
//
// file.c: counting one file as GNU wc does, and asking GNU wc itself.
#include "count.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// The word rule of wc in coreutils 9.1 (Debian 12) in the C locale: spaces end a word, printable
// characters begin or continue one, and all other bytes do neither.
enum byte_class { BYTE_OTHER, BYTE_SPACE, BYTE_WORD };

static void classify(unsigned char class_of[256])
{
	for (int byte = 0; byte < 256; byte++)
		class_of[byte] = isspace(byte)   ? BYTE_SPACE
				 : isprint(byte) ? BYTE_WORD
						 : BYTE_OTHER;
}

int count_file(const char *name, struct totals *totals)
{
	static unsigned char buffer[65536];
	unsigned char class_of[256];
	bool in_word = false;
	const int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t size;

	if (fd < 0)
		return errno;
	classify(class_of); // main never calls setlocale, so this is the C locale's
	while ((size = read(fd, buffer, sizeof(buffer))) > 0) {
		uint64_t lines = 0, words = 0;

		for (ssize_t i = 0; i < size; i++) {
			const unsigned char class = class_of[buffer[i]];

			// "&" and "|" rather than "&&" and "||": no branches, to be mispredicted.
			lines += buffer[i] == '\n';
			words += (class == BYTE_WORD) & !in_word;
			in_word = (class == BYTE_WORD) | (in_word & (class != BYTE_SPACE));
		}
		totals->lines += lines;
		totals->words += words;
		totals->bytes += (uint64_t)size;
	}
	const int error = size < 0 ? errno : 0;
	close(fd);
	return error;
}

// One line for each file and, if there are several, a last one with the totals. So the last line's
// numbers are the totals in any case; a line feed in a name is shown quoted, without a line feed.
static bool read_totals(FILE *output, struct totals *ret_totals, uint32_t *ret_files)
{
	char *line = NULL, *last = NULL;
	size_t line_size = 0, last_size = 0;
	uint32_t lines = 0;
	bool good = true;

	while (getline(&line, &line_size, output) >= 0) {
		char *const swap = last;
		const size_t swap_size = last_size;

		last = line;
		last_size = line_size;
		line = swap;
		line_size = swap_size;
		lines++;
	}
	*ret_totals = (struct totals){ 0 };
	*ret_files = lines > 1 ? lines - 1 : lines;
	if (lines > 0)
		good = sscanf(last, "%" SCNu64 "%" SCNu64 "%" SCNu64, &ret_totals->lines,
			      &ret_totals->words, &ret_totals->bytes) == 3;
	if (!good)
		fprintf(stderr, "demo-count: not understood of wc: %s", last);
	free(line);
	free(last);
	return good;
}

// bash, for pipefail: a find that could not read a directory must not pass as a shorter list.
static int spawn_reference(const char *directory, int output, pid_t *ret_pid)
{
	static const char pipeline[] = "find \"$1\" -type f -print0 | LC_ALL=C wc --files0-from=-";
	const char *const arguments[] = {
		"bash", "-o", "pipefail", "-c", pipeline, "bash", directory, NULL,
	};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int error;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	error = posix_spawnp(ret_pid, "bash", &actions, &attributes, (char **)arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

bool reference_counts(const char *directory, struct totals *ret_totals, uint32_t *ret_files)
{
	int ends[2], status = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0) {
		perror("demo-count: pipe");
		return false;
	}
	const int error = spawn_reference(directory, ends[1], &pid);
	close(ends[1]);
	FILE *const output = fdopen(ends[0], "r");
	if (error || !output) {
		fprintf(stderr, "demo-count: find | wc: %s\n", strerror(error ? error : errno));
		if (output)
			fclose(output);
		else
			close(ends[0]);
		if (!error)
			waitpid(pid, &status, 0);
		return false;
	}
	const bool understood = read_totals(output, ret_totals, ret_files);
	fclose(output);
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "demo-count: find | wc failed (see above)\n");
		return false;
	}
	return understood;
}
