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
#include <sys/ptrace.h>
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

struct program program_start(const char *path, const char *arguments, bool traced)
{
	char *const line = strdup(arguments);
	char *words[MAX_WORDS + 2] = { strdup(path) };
	char *rest = NULL;
	struct program program = { .out = memfd_create("stdout", MFD_CLOEXEC),
				   .error = memfd_create("stderr", MFD_CLOEXEC) };
	size_t count = 1;

	if (!line || !words[0] || program.out < 0 || program.error < 0)
		fail_msg("cannot run %s: %s", path, strerror(errno));
	for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (count > MAX_WORDS)
			fail_msg("more than %d words: %s", MAX_WORDS, arguments);
		words[count++] = word;
	}
	fflush(NULL);
	program.pid = fork();
	if (program.pid == 0) {
		dup2(program.out, STDOUT_FILENO);
		dup2(program.error, STDERR_FILENO);
		if (!traced || ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			execv(path, words);
		_exit(127);
	}
	if (program.pid < 0)
		fail_msg("cannot run %s: %s", path, strerror(errno));
	free(words[0]);
	free(line);
	return program;
}

struct output program_finish(const struct program *program)
{
	struct output output;

	if (waitpid(program->pid, &output.status, 0) != program->pid)
		fail_msg("cannot wait for %d: %s", program->pid, strerror(errno));
	output.out = take(program->out);
	output.error = take(program->error);
	return output;
}

struct output run_program(const char *path, const char *arguments)
{
	const struct program program = program_start(path, arguments, false);

	return program_finish(&program);
}

void output_free(struct output *output)
{
	free(output->out);
	free(output->error);
	output->out = output->error = NULL;
}
