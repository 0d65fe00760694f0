// SPDX-License-Identifier: Apache-2.0
// What a user's first program calls; prints the library's version.
#include <leasehold/leasehold.h>

#include <stdio.h>
#include <unistd.h>

static int use(lh_arena *arena)
{
	const struct lh_mutex_options options = { .name = "consumer", .data_size = sizeof(long) };
	lh_lease *lease;
	lh_mutex mutex;
	lh_grant grant;
	int result = lh_thread_lease(arena, &lease);

	if (result == 0)
		result = lh_mutex_at(arena, LH_ANYWHERE, &options, &mutex);
	if (result == 0)
		result = lh_mutex_lock(&mutex, lease, lh_deadline_after(LH_SEC(10)), &grant);
	if (result == 0)
		result = lh_mutex_unlock(&mutex, lease);
	if (result == 0)
		result = lh_lease_release(lease);
	return result;
}

int main(void)
{
	char name[64];
	lh_arena *arena;
	int result;

	snprintf(name, sizeof name, "leasehold-consumer-%ld", (long)getpid());
	result = lh_arena_open(name, LH_CREATE | LH_EXCL, NULL, &arena);
	if (result == 0) {
		result = use(arena);
		lh_arena_close(arena);
		lh_arena_unlink(name);
	}
	if (result != 0) {
		fprintf(stderr, "%s (%s)\n", lh_strerror(result), lh_error_detail());
		return 1;
	}
	puts(lh_version());
	return 0;
}
