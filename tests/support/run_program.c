// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/run_program.h"

enum { MAX_WORDS = 32 };

// What was written to the file, which is closed.
static char *take(int file)
{
	struct stat status = { .st_size = 0 };
	char *text = NULL;

	if (fstat(file, &status) || !(text = (char *)calloc(1, (size_t)status.st_size + 1)))
		fail_msg("cannot take the output: %s", strerror(errno));
	if (pread(file, text, (size_t)status.st_size, 0) != status.st_size)
		fail_msg("cannot read the output: %s", strerror(errno));
	close(file);
	return text;
}

struct output run_program(const char *path, const char *arguments)
{
	char *const line = strdup(arguments);
	char *words[MAX_WORDS + 2] = { strdup(path) };
	char *rest = NULL;
	const int out = memfd_create("stdout", MFD_CLOEXEC);
	const int error = memfd_create("stderr", MFD_CLOEXEC);
	struct output output;
	size_t count = 1;

	if (!line || !words[0] || out < 0 || error < 0)
		fail_msg("cannot run %s: %s", path, strerror(errno));
	for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (count > MAX_WORDS)
			fail_msg("more than %d words: %s", MAX_WORDS, arguments);
		words[count++] = word;
	}
	fflush(NULL);
	const pid_t pid = fork();

	if (pid == 0) {
		dup2(out, STDOUT_FILENO);
		dup2(error, STDERR_FILENO);
		execv(path, words);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &output.status, 0) != pid)
		fail_msg("cannot run %s: %s", path, strerror(errno));
	free(words[0]);
	free(line);
	output.out = take(out);
	output.error = take(error);
	return output;
}

void output_free(struct output *output)
{
	free(output->out);
	free(output->error);
	output->out = output->error = NULL;
}
