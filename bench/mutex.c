// SPDX-License-Identifier: Apache-2.0
//
// mutex.c: lease-bench mutex; the cases without contention.
#include "mutex.h"

#include "layouts.h"
#include "peer.h"
#include "recovers.h"
#include "report.h"

static const struct bench_case cases[] = {
	{ "uncontended", "lock + unlock by one process, by call and inlined", 2,
	  mutex_uncontended },
	{ "contended", "grants at 2, 4, 16 and 64 processes, with and without a pause between", 8,
	  mutex_contended },
	{ "handover", "unlock to the grant of a process that sleeps for it", 2, mutex_handover },
	{ "kill", "SIGKILL of a holder, an heir or a woken waiter, to the next grant", 5,
	  mutex_kill },
	{ "recovers", "whether the death of a holder lets the next one in, and tells it", 2,
	  mutex_recovers },
	{ "lease", "lease acquire + release", 1, mutex_lease },
	{ "arena", "arena open + close", 1, mutex_arena },
	{ "oversubscribed", "grants with more processes than CPUs, by hold and pause", 6,
	  mutex_oversubscribed },
	{ "fairness", "how grants are shared out, and the longest wait of 2 processes", 4,
	  mutex_fairness },
	{ "objects", "lock + unlock with 10 to 100,000 mutexes", 1, mutex_objects },
	{ "growth", "the same with 10,000 mutexes and 500 leases as with one of each", 2,
	  mutex_growth },
	{ "header", "bytes of a mutex", 0.01, mutex_header },
	{ 0 },
};

// ---- uncontended ---------------------------------------------------------------------------------
enum { PLAIN, ROBUST, ROBUST_PI, LEASE, LEASE_TTL, INLINED, FURTHER };

static const struct peer *const peers[] = {
	[PLAIN] = &peer_pthread_plain,
	[ROBUST] = &peer_pthread_robust,
	[ROBUST_PI] = &peer_pthread_robust_pi,
	[LEASE] = &peer_lease,
	[LEASE_TTL] = &peer_lease_ttl,
	[INLINED] = &peer_lease_inlined,
	PEERS_FURTHER,
	&peer_nothing,
};

static const struct peer_set pairs = {
	.peers = peers,
	.count = sizeof(peers) / sizeof(peers[0]),
	.rows = { { LEASE, ROBUST, { TARGET_RATIO_AT_MOST, 0.70 } },
		  { LEASE, PLAIN, { TARGET_RATIO_AT_MOST, 0.95 } },
		  { INLINED, ROBUST, { TARGET_RATIO_AT_MOST, 0.70 } },
		  { INLINED, PLAIN, { TARGET_RATIO_AT_MOST, 0.95 } },
		  { LEASE_TTL, ROBUST, { TARGET_NONE, 0 } },
		  { LEASE_TTL, PLAIN, { TARGET_NONE, 0 } },
		  { PLAIN, ROBUST, { TARGET_NONE, 0 } },
		  { ROBUST_PI, ROBUST, { TARGET_NONE, 0 } } },
	.row_count = 8,
	.further = FURTHER,
};

static const struct slowed_case slowed[] = {
	{ "uncontended", &pairs },
	{ "contended", &mutex_contenders },
	{ "oversubscribed", &mutex_contenders },
	{ "fairness", &mutex_sharers },
	{ 0 },
};

const struct subcommand mutex_subcommand = {
	.name = "mutex",
	.summary = "lh_mutex against process-shared pthread mutexes and other locks",
	.cases = cases,
	.contests = compare_contests,
	.slowed = slowed,
};

#define LAYOUTS 16

struct uncontended {
	const struct peer_set *set;
	struct lock locks[MEASURE_COLUMNS];
};

static void create(void *context)
{
	struct uncontended *case_ = context;

	for (size_t i = 0; i < case_->set->count; i++)
		peer_create(&case_->locks[i], case_->set->peers[i]);
}

static void destroy(void *context)
{
	struct uncontended *case_ = context;

	for (size_t i = 0; i < case_->set->count; i++)
		case_->set->peers[i]->destroy(&case_->locks[i]);
}

static void attach(void *context)
{
	struct uncontended *case_ = context;

	for (size_t i = 0; i < case_->set->count; i++)
		case_->set->peers[i]->attach(&case_->locks[i]);
}

static void detach(void *context)
{
	struct uncontended *case_ = context;

	for (size_t i = 0; i < case_->set->count; i++)
		case_->set->peers[i]->detach(&case_->locks[i]);
}

static void loop(void *context, size_t column, uint64_t calls)
{
	struct uncontended *case_ = context;

	case_->set->peers[column]->pairs(&case_->locks[column], calls);
}

static void report_pair(struct run *run, const struct bench_case *self, const struct peer_set *set,
			const struct layouts *layouts, size_t peer, size_t reference,
			struct target target)
{
	const struct comparison comparison = {
		.case_name = self->name,
		.what = "lock + unlock",
		.peer = set->peers[peer]->name,
		.reference = set->peers[reference]->name,
		.unit = "ns",
		.group = layouts->group,
		.target = target,
	};

	report_compare(run->report, &comparison, layouts->samples, peer, reference);
}

void compare_pairs(struct run *run, const struct bench_case *self, const struct peer_set *set,
		   double seconds)
{
	struct uncontended case_ = { .set = set };
	struct layouts layouts = {
		.run = run,
		.purpose = self->name,
		.seconds = seconds,
		.columns = set->count,
		.count = LAYOUTS,
		.calls = run->quick ? 1000 : 10000,
		.context = &case_,
		.create = create,
		.destroy = destroy,
		.attach = attach,
		.detach = detach,
		.loop = loop,
	};

	layouts_measure(&layouts);
	for (size_t i = 0; i < set->row_count; i++)
		report_pair(run, self, set, &layouts, set->rows[i].peer, set->rows[i].reference,
			    set->rows[i].target);
	for (size_t peer = set->further; set->further && peer < set->count; peer++)
		report_pair(run, self, set, &layouts, peer, set->rows[0].reference,
			    (struct target){ TARGET_NONE, 0 });
	samples_destroy(layouts.samples);
}

void mutex_uncontended(struct run *run, const struct bench_case *self, double seconds)
{
	compare_pairs(run, self, &pairs, seconds);
}

// ---- recovers ------------------------------------------------------------------------------------
void mutex_recovers(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct peer *const killed[] = { &peer_pthread_robust,    &peer_lease,
						     &peer_lease_ttl,         &peer_pthread_plain,
						     &peer_pthread_robust_pi, PEERS_FURTHER };
	static const struct peer_set set = { .peers = killed,
					     .count = sizeof(killed) / sizeof(killed[0]) };

	compare_recovery(run, self, &set, seconds);
}

// ---- header --------------------------------------------------------------------------------------
// No measurement, but a promise of the same kind: a mutex takes one cache line.
void mutex_header(struct run *run, const struct bench_case *self, double seconds)
{
	const struct comparison comparison = {
		.case_name = self->name,
		.what = "size without data",
		.peer = peer_lease.name,
		.reference = peer_pthread_robust.name,
		.unit = "bytes",
		.target = { TARGET_ABSOLUTE_AT_MOST, 64 },
	};
	struct samples *samples = samples_create(2);

	(void)seconds;
	samples_set(samples, 0, 0, (double)lh_mutex_footprint(NULL));
	samples_set(samples, 0, 1, (double)sizeof(pthread_mutex_t));
	report_compare(run->report, &comparison, samples, 0, 1);
	samples_destroy(samples);
}
