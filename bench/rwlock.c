// SPDX-License-Identifier: Apache-2.0
//
// rwlock.c: lease-bench rwlock: the locks, and the cases without contention. The peer is
// pthread_rwlock_t, process-shared, of glibc's default kind (which prefers readers); after a kill,
// where that never recovers, the robust pthread mutex. In the mixes Boost.Interprocess's sharable
// mutex is a second one.
#include "rwlock.h"

#include <stdio.h>
#include <sys/mman.h>

#include "further.h"
#include "layouts.h"
#include "peer.h"
#include "report.h"

#define LAYOUTS 16
#define LOCK_SIZE 4096

static const struct bench_case cases[] = {
	{ "read", "read lock + unlock by one process, 100 leases more in the arena", 2,
	  rwlock_read },
	{ "write", "write lock + unlock by one process, 100 and 500 leases more", 3, rwlock_write },
	{ "readers", "CPU time of a read by 1, 2, 4 and 8 processes at once", 3, rwlock_readers },
	{ "mix", "grants at 99, 90 and 50 % reads, 2 and 4 processes", 4, rwlock_mix },
	{ "kill", "SIGKILL of a writer or reader to the next grant", 2, rwlock_kill },
	{ "recovers", "whether the death of a writer or reader lets a writer in, and tells it", 2,
	  rwlock_recovers },
	{ 0 },
};

const struct subcommand rwlock_subcommand = {
	.name = "rwlock",
	.summary = "lh_rwlock against process-shared pthread_rwlock_t",
	.cases = cases,
};

// ---- the locks -----------------------------------------------------------------------------------

const char *const locks_names[KINDS] = {
	[PLAIN] = "pthread_rwlock",
	[LEASE] = "lh_rwlock",
	[INLINED] = "lh_inline_rwlock",
	[SHARABLE] = "Boost sharable mutex",
};

void locks_check(int error, const char *what)
{
	if (error)
		process_die("%s: %s (%s)", what, lh_strerror(error), lh_error_detail());
}

static const struct lh_rwlock_options options = { .name = "bench",
						  .data_size = PEER_WORDS * sizeof(uint64_t) };

static void make_arena(void *context)
{
	const struct lh_arena_options arena_options = { .max_leases = 1024 };
	struct locks *locks = context;

	locks_check(lh_arena_open(locks->object_name, LH_CREATE | LH_EXCL, &arena_options,
				  &locks->arena),
		    "lh_arena_open");
	locks_check(lh_rwlock_at(locks->arena, LH_ANYWHERE, &options, &locks->handle),
		    "lh_rwlock_at");
	locks_check(lh_arena_close(locks->arena), "lh_arena_close");
}

void locks_create(struct locks *locks)
{
	pthread_rwlockattr_t attributes;

	*locks = (struct locks){ .plain = process_shared_memory(LOCK_SIZE),
				 .sharable = process_shared_memory(LOCK_SIZE) };
	scratch_name(locks->object_name);
	process_run(make_arena, locks);
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (pthread_rwlock_init(locks->plain, &attributes) != 0)
		process_die("pthread_rwlock_init");
#ifdef LEASE_BENCH_BOOST
	sharable_create(locks->sharable, LOCK_SIZE);
#endif
}

void locks_destroy(struct locks *locks)
{
	scratch_unlink(locks->object_name);
	munmap(locks->plain, LOCK_SIZE);
	munmap(locks->sharable, LOCK_SIZE);
}

void locks_attach(struct locks *locks, size_t further, bool read)
{
	locks_check(lh_arena_open(locks->object_name, 0, NULL, &locks->arena), "lh_arena_open");
	locks_check(lh_rwlock_at(locks->arena, LH_ANYWHERE, &options, &locks->handle),
		    "lh_rwlock_at");
	locks_check(lh_lease_acquire(locks->arena, NULL, &locks->lease), "lh_lease_acquire");
	further_acquire(locks->arena, locks->further, further);
	for (size_t i = 0; read && i < further; i++) {
		locks_check(
			lh_rwlock_read_lock(&locks->handle, locks->further[i], LH_FOREVER, NULL),
			"lh_rwlock_read_lock");
		locks_check(lh_rwlock_unlock(&locks->handle, locks->further[i]),
			    "lh_rwlock_unlock");
	}
	locks->further_count = further;
}

void locks_detach(struct locks *locks)
{
	further_release(locks->further, locks->further_count);
	locks_check(lh_lease_release(locks->lease), "lh_lease_release");
	locks_check(lh_arena_close(locks->arena), "lh_arena_close");
}

// ---- read, write: without contention -------------------------------------------------------------

INLINE void pairs_of(struct locks *locks, int kind, bool writes, uint64_t pairs)
{
	for (uint64_t i = 0; i < pairs; i++) {
		locks_enter(locks, kind, writes);
		locks_leave(locks, kind, writes);
	}
}

static void pairs(struct locks *locks, int kind, bool writes, uint64_t count)
{
	if (kind == PLAIN)
		writes ? pairs_of(locks, PLAIN, true, count) : pairs_of(locks, PLAIN, false, count);
	else if (kind == INLINED)
		pairs_of(locks, INLINED, false, count);
	else
		writes ? pairs_of(locks, LEASE, true, count) : pairs_of(locks, LEASE, false, count);
}

struct pair_case {
	size_t further;
	bool writes, others_read;
	struct locks locks, few; // few: without further leases
};

// FEW: lh_rwlock without further leases. Writing there is nothing inlined.
enum { PAIR_PLAIN, PAIR_LEASE, PAIR_FEW, PAIR_INLINED, PAIR_COLUMNS };

static size_t columns_of(const struct pair_case *case_)
{
	return case_->writes ? PAIR_INLINED : PAIR_COLUMNS;
}

static void create_pair(void *context)
{
	struct pair_case *case_ = context;

	locks_create(&case_->locks);
	locks_create(&case_->few);
}

static void destroy_pair(void *context)
{
	struct pair_case *case_ = context;

	locks_destroy(&case_->few);
	locks_destroy(&case_->locks);
}

static void attach_pair(void *context)
{
	struct pair_case *case_ = context;

	locks_attach(&case_->locks, case_->further, case_->others_read);
	locks_attach(&case_->few, 0, false);
}

static void detach_pair(void *context)
{
	struct pair_case *case_ = context;

	locks_detach(&case_->few);
	locks_detach(&case_->locks);
}

static void loop(void *context, size_t column, uint64_t calls)
{
	static const int kinds[PAIR_COLUMNS] = { PLAIN, LEASE, LEASE, INLINED };
	struct pair_case *case_ = context;

	pairs(column == PAIR_FEW ? &case_->few : &case_->locks, kinds[column], case_->writes,
	      calls);
}

// `growth`: against the same lock without further leases; `inlined`: that form against pthread's.
static void compare_pairs(struct run *run, const struct bench_case *self, double seconds,
			  struct pair_case case_, struct target target, struct target growth,
			  struct target inlined)
{
	static const char alone[] = "lh_rwlock, alone";
	char what[64];

	snprintf(what, sizeof(what), "%s + unlock, %zu leases more%s",
		 case_.writes ? "write" : "read", case_.further,
		 case_.others_read ? ", which read" : "");
	struct layouts layouts = {
		.run = run,
		.purpose = what,
		.seconds = seconds,
		.columns = columns_of(&case_),
		.count = LAYOUTS,
		.calls = run->quick ? 1000 : 10000,
		.context = &case_,
		.create = create_pair,
		.destroy = destroy_pair,
		.attach = attach_pair,
		.detach = detach_pair,
		.loop = loop,
	};

	layouts_measure(&layouts);
	const struct {
		size_t column, reference;
		const char *peer, *against;
		struct target target;
	} rows[] = {
		{ PAIR_LEASE, PAIR_PLAIN, locks_names[LEASE], locks_names[PLAIN], target },
		{ PAIR_LEASE, PAIR_FEW, locks_names[LEASE], alone, growth },
		{ PAIR_INLINED, PAIR_PLAIN, locks_names[INLINED], locks_names[PLAIN], inlined },
	};

	for (size_t row = 0; row < columns_of(&case_) - 1; row++) {
		const struct comparison comparison = {
			.case_name = self->name,
			.what = what,
			.peer = rows[row].peer,
			.reference = rows[row].against,
			.unit = "ns",
			.group = layouts.group,
			.target = rows[row].target,
		};

		report_compare(run->report, &comparison, layouts.samples, rows[row].column,
			       rows[row].reference);
	}
	samples_destroy(layouts.samples);
}

void rwlock_read(struct run *run, const struct bench_case *self, double seconds)
{
	const struct pair_case reads = { .further = FURTHER_LEASES, .others_read = true };

	compare_pairs(run, self, seconds, reads, (struct target){ TARGET_RATIO_AT_MOST, 0.30 },
		      (struct target){ TARGET_NONE, 0 },
		      (struct target){ TARGET_RATIO_AT_MOST, 0.20 });
}

void rwlock_write(struct run *run, const struct bench_case *self, double seconds)
{
	const struct pair_case alone = { .writes = true, .further = MANY_LEASES };
	const struct pair_case after = { .writes = true,
					 .further = FURTHER_LEASES,
					 .others_read = true };

	compare_pairs(run, self, seconds / 2, alone, (struct target){ TARGET_RATIO_AT_MOST, 1.1 },
		      (struct target){ TARGET_RATIO_AT_MOST, 1.1 },
		      (struct target){ TARGET_NONE, 0 });
	compare_pairs(run, self, seconds / 2, after, (struct target){ TARGET_NONE, 0 },
		      (struct target){ TARGET_NONE, 0 }, (struct target){ TARGET_NONE, 0 });
}
