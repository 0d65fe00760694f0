// SPDX-License-Identifier: Apache-2.0
//
// cxx.hpp: what the tests of leasehold.hpp have in common.
#ifndef TESTS_CONTRACT_CXX_HPP
#define TESTS_CONTRACT_CXX_HPP

#include <leasehold/leasehold.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sys/wait.h>
#include <unistd.h>

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,            \
				     #condition);                                                  \
			std::abort();                                                              \
		}                                                                                  \
	} while (0)

// What the exception of that kind says, which the body throws; 0 if it throws none.
template <class Thrown, class Body> int thrown_by(Body body)
{
	try {
		body();
	} catch (const Thrown &error) {
		return error.result();
	}
	return 0;
}

// A process that does this and is killed.
inline void die_doing(const std::function<void()> &work)
{
	const pid_t child = fork();
	int status;

	if (child == 0) {
		work();
		kill(getpid(), SIGKILL);
	}
	NEED(waitpid(child, &status, 0) == child);
	NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// Whether a process of its own finds that so.
inline bool holds_elsewhere(const std::function<bool()> &look)
{
	const pid_t child = fork();
	int status;

	if (child == 0)
		_exit(look() ? 0 : 1);
	NEED(waitpid(child, &status, 0) == child);
	return status == 0;
}

#endif
