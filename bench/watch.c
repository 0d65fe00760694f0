// SPDX-License-Identifier: Apache-2.0
//
// watch.c: lease-bench watch.
//
//	read		lh_watch_read against memcpy of as many bytes, called as a function with a
//			size that the compiler does not know
//	wake		two processes send each other values in turn and sleep until one comes; against
//			the same with a word and FUTEX_WAIT, FUTEX_WAKE, by the same two processes' kind
//	receivers	a send to sleeping receivers, until all have read it: per receiver
//	kill		SIGKILL of the sender, until another process is the sender
//	recovers	whether a receiver returns then; beside one that sleeps on a bare futex
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "layouts.h"
#include "values.h"

static void watch_read(struct run *run, const struct bench_case *self, double seconds);
static void watch_wake(struct run *run, const struct bench_case *self, double seconds);
static void watch_receivers(struct run *run, const struct bench_case *self, double seconds);
static void watch_kill(struct run *run, const struct bench_case *self, double seconds);
static void watch_recovers(struct run *run, const struct bench_case *self, double seconds);

static const struct bench_case cases[] = {
	{ "read", "read against memcpy, 8 B to 1 MiB", 3, watch_read },
	{ "wake", "send to wake, two processes in turn, against a bare futex", 2, watch_wake },
	{ "receivers", "send to 1, 4 and 16 sleeping receivers, until all have read", 2,
	  watch_receivers },
	{ "kill", "SIGKILL of the sender, to the next sender", 2, watch_kill },
	{ "recovers", "whether the death of the sender lets a receiver return, and tells it", 1,
	  watch_recovers },
	{ 0 },
};

const struct subcommand watch_subcommand = {
	.name = "watch",
	.summary = "lh_watch against memcpy, a bare futex and a robust pthread mutex",
	.cases = cases,
};

static lh_watch place(lh_arena *arena, size_t size)
{
	const struct lh_watch_options options = { .max_size = size };
	lh_watch watch;

	values_must(lh_watch_at(arena, LH_ANYWHERE, &options, &watch), "lh_watch_at");
	return watch;
}

// ---- read ----------------------------------------------------------------------------------------

#define LAYOUTS 8

enum { MEMCPY, READ, READINGS };

struct reading {
	size_t size;
	lh_arena *arena;
	lh_watch_receiver receiver;
	void *from, *to;
	void *(*volatile copy)(void *, const void *, size_t);
};

static void create_reading(void *context)
{
	struct reading *reading = context;

	reading->arena = values_arena(16 * reading->size + 65536);
}

static void destroy_reading(void *context)
{
	struct reading *reading = context;

	values_end(reading->arena);
}

// Both copy from memory that is mapped shared, to memory that is not.
static void attach_reading(void *context)
{
	struct reading *reading = context;
	const lh_watch watch = place(reading->arena, reading->size);

	reading->copy = memcpy;
	reading->from = process_shared_memory(reading->size);
	reading->to = malloc(reading->size);
	if (!reading->to)
		process_die_errno(errno, "malloc");
	memset(reading->from, 1, reading->size);
	memset(reading->to, 2, reading->size);
	values_must(
		lh_watch_send(&watch, values_lease(reading->arena), reading->from, reading->size),
		"lh_watch_send");
	values_must(lh_watch_subscribe(&watch, &reading->receiver), "lh_watch_subscribe");
}

static void read_loop(void *context, size_t column, uint64_t count)
{
	struct reading *reading = context;

	if (column == MEMCPY) {
		for (; count; count--)
			reading->copy(reading->to, reading->from, reading->size);
		return;
	}
	for (; count; count--)
		values_must(
			lh_watch_read(&reading->receiver, reading->to, reading->size, NULL, NULL),
			"lh_watch_read");
}

static void watch_read(struct run *run, const struct bench_case *self, double seconds)
{
	static const struct {
		size_t size;
		struct target target;
	} rows[] = { { 8, { TARGET_NONE, 0 } },
		     { 64, { TARGET_RATIO_AT_MOST, 4 } },
		     { 1024, { TARGET_NONE, 0 } },
		     { 65536, { TARGET_NONE, 0 } },
		     { 1 << 20, { TARGET_RATIO_AT_LEAST, 0.9 } } };
	const size_t count = sizeof(rows) / sizeof(rows[0]);
	const uint64_t bytes = run->quick ? 1 << 22 : 1 << 25;
	char what[32];

	for (size_t i = 0; i < count; i++) {
		struct reading reading = { .size = rows[i].size };
		struct layouts layouts = {
			.run = run,
			.purpose = what,
			.seconds = seconds / (double)count,
			.columns = READINGS,
			.count = LAYOUTS,
			.calls = reading.size >= 1024 ? bytes / reading.size
				 : run->quick         ? 2000
						      : 50000,
			.context = &reading,
			.create = create_reading,
			.destroy = destroy_reading,
			.attach = attach_reading,
			.loop = read_loop,
		};
		struct comparison comparison = {
			.case_name = self->name,
			.what = what,
			.peer = "lh_watch_read",
			.reference = "memcpy",
			.unit = "ns",
			.throughput = rows[i].target.kind == TARGET_RATIO_AT_LEAST,
			.target = rows[i].target,
		};

		snprintf(what, sizeof(what), "%zu bytes", reading.size);
		layouts_measure(&layouts);
		comparison.group = layouts.group;
		report_compare(run->report, &comparison, layouts.samples, READ, MEMCPY);
		samples_destroy(layouts.samples);
	}
}

// ---- wake ----------------------------------------------------------------------------------------

struct waking {
	const struct run *run;
	const char *purpose;
	double seconds;
	struct samples *samples;
	lh_arena *arena;
	lh_watch there, back;
	lh_watch_receiver receiver;
	lh_lease *lease;
	_Atomic uint32_t *words; // there, back
	uint64_t sent;
};

static void send_one(const lh_watch *watch, lh_lease *lease, uint64_t value)
{
	values_must(lh_watch_send(watch, lease, &value, sizeof(value)), "lh_watch_send");
}

static uint64_t receive_one(lh_watch_receiver *receiver)
{
	uint64_t value;

	values_must(lh_watch_changed(receiver, LH_FOREVER), "lh_watch_changed");
	values_must(lh_watch_read(receiver, &value, sizeof(value), NULL, NULL), "lh_watch_read");
	return value;
}

static void set_word(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void await_word(_Atomic uint32_t *word, uint32_t before)
{
	while (atomic_load(word) == before)
		syscall(SYS_futex, word, FUTEX_WAIT, before, NULL, NULL, 0);
}

// UINT64_MAX, and UINT32_MAX, end the echoes.
static void echo_watch(void *context)
{
	struct waking *waking = context;
	lh_watch_receiver receiver;
	uint64_t value;

	waking->lease = values_lease(waking->arena);
	values_must(lh_watch_subscribe(&waking->there, &receiver), "lh_watch_subscribe");
	send_one(&waking->back, waking->lease, 0);
	do {
		value = receive_one(&receiver);
		send_one(&waking->back, waking->lease, value);
	} while (value != UINT64_MAX);
}

static void echo_word(void *context)
{
	struct waking *waking = context;
	uint32_t value = 0;

	do {
		await_word(&waking->words[0], value);
		value = atomic_load(&waking->words[0]);
		set_word(&waking->words[1], value);
	} while (value != UINT32_MAX);
}

static void watch_pings(void *context, uint64_t count)
{
	struct waking *waking = context;

	for (; count; count--) {
		send_one(&waking->there, waking->lease, ++waking->sent);
		receive_one(&waking->receiver);
	}
}

static void word_pings(void *context, uint64_t count)
{
	struct waking *waking = context;

	for (; count; count--) {
		const uint32_t value = atomic_load(&waking->words[0]) + 1;

		set_word(&waking->words[0], value);
		await_word(&waking->words[1], value - 1);
	}
}

static void measure_waking(void *context)
{
	struct waking *waking = context;
	const uint64_t count = waking->run->quick ? 100 : 1000;
	const struct timed timed[] = { { "futex", word_pings, waking, count },
				       { "lh_watch", watch_pings, waking, count } };

	waking->lease = values_lease(waking->arena);
	send_one(&waking->there, waking->lease, 0);
	values_must(lh_watch_subscribe(&waking->back, &waking->receiver), "lh_watch_subscribe");
	const pid_t watch_echo = process_start(echo_watch, waking);
	const pid_t word_echo = process_start(echo_word, waking);
	(void)receive_one(&waking->receiver); // it is there
	values_time(waking->run, waking->purpose, waking->seconds, timed, 2, waking->samples);
	send_one(&waking->there, waking->lease, UINT64_MAX);
	set_word(&waking->words[0], UINT32_MAX);
	process_finish(watch_echo);
	process_finish(word_echo);
}

static void watch_wake(struct run *run, const struct bench_case *self, double seconds)
{
	struct waking waking = { .run = run,
				 .purpose = self->name,
				 .seconds = seconds,
				 .arena = values_arena(65536),
				 .words = process_shared_memory(64) };
	const struct comparison comparison = { .case_name = self->name,
					       .what = "there and back, 8 bytes",
					       .peer = "lh_watch",
					       .reference = "bare futex",
					       .unit = "ns",
					       .target = { TARGET_RATIO_AT_MOST, 1.2 } };

	waking.there = place(waking.arena, 8);
	waking.back = place(waking.arena, 8);
	waking.samples = samples_create(2);
	measure_waking(&waking);
	report_compare(run->report, &comparison, waking.samples, 1, 0);
	samples_destroy(waking.samples);
	munmap(waking.words, 64);
	values_must(lh_lease_release(waking.lease), "lh_lease_release");
	values_end(waking.arena);
}

// ---- receivers -----------------------------------------------------------------------------------

enum { GROUPS = 3, MOST_RECEIVERS = 16 };

struct group {
	lh_arena *arena;
	lh_watch watch;
	lh_lease *lease;
	size_t size;
	pid_t pids[MOST_RECEIVERS];
	gate *arrived;
	uint64_t sent;
};

static void receive_all(void *context)
{
	struct group *group = context;
	lh_watch_receiver receiver;

	values_must(lh_watch_subscribe(&group->watch, &receiver), "lh_watch_subscribe");
	gate_add(group->arrived, 1);
	while (receive_one(&receiver) != UINT64_MAX)
		gate_add(group->arrived, 1);
}

// One that has not fallen asleep yet costs less than one that has, and one alone would never sleep.
static void await_all_asleep(const struct group *group)
{
	for (size_t member = 0; member < group->size; member++)
		process_await_asleep(group->pids[member], "watch");
}

// Nanoseconds for each receiver, from a send to when the last one has read it.
static double send_to_all(struct group *group, uint64_t sends)
{
	uint64_t total = 0;

	for (uint64_t i = 0; i < sends; i++) {
		const uint32_t before = atomic_load(group->arrived);
		uint64_t start;

		await_all_asleep(group);
		start = measure_now();
		send_one(&group->watch, group->lease, ++group->sent);
		gate_await(group->arrived, before + (uint32_t)group->size);
		total += measure_now() - start;
	}
	return (double)total / (double)(sends * group->size);
}

static void watch_receivers(struct run *run, const struct bench_case *self, double seconds)
{
	static const size_t sizes[GROUPS] = { 1, 4, MOST_RECEIVERS };
	struct samples *samples = samples_create(GROUPS);
	struct group groups[GROUPS];

	for (size_t i = 0; i < GROUPS; i++) {
		struct group *group = &groups[i];

		*group = (struct group){ .size = sizes[i], .arena = values_arena(65536) };
		group->arrived = process_shared_memory(sizeof(gate));
		group->watch = place(group->arena, 8);
		for (size_t member = 0; member < group->size; member++)
			group->pids[member] = process_start(receive_all, group);
		gate_await(group->arrived, (uint32_t)group->size);
		group->lease = values_lease(group->arena);
	}
	struct rounds rounds = rounds_begin(run, self->name, GROUPS, seconds);

	while (rounds_next(&rounds)) {
		for (size_t i = 0; i < GROUPS; i++) {
			const size_t column = rounds.order[i];

			samples_set(samples, rounds.round, column,
				    send_to_all(&groups[column], run->quick ? 2 : 16));
		}
	}
	for (size_t i = 0; i < GROUPS; i++) {
		struct group *group = &groups[i];
		const struct comparison comparison = {
			.case_name = self->name,
			.what = "send until all have read, per receiver",
			.peer = i == 1 ? "4 receivers" : "16 receivers",
			.reference = "1 receiver",
			.unit = "ns",
			.target = { TARGET_RATIO_AT_MOST, 1.1 },
		};

		if (i)
			report_compare(run->report, &comparison, samples, i, 0);
		send_one(&group->watch, group->lease, UINT64_MAX);
		for (size_t member = 0; member < group->size; member++)
			process_finish(group->pids[member]);
		values_must(lh_lease_release(group->lease), "lh_lease_release");
		values_end(group->arena);
		munmap(group->arrived, sizeof(gate));
	}
	samples_destroy(samples);
}

// ---- kill ----------------------------------------------------------------------------------------

struct sender {
	lh_arena *arena;
	lh_watch watch;
};

static void create_nothing(void *context)
{
	(void)context;
}

static void be_sender(void *context)
{
	struct sender *sender = context;

	send_one(&sender->watch, values_lease(sender->arena), 1);
}

static int succeed_sender(void *context)
{
	struct sender *sender = context;
	lh_lease *lease = values_lease(sender->arena);
	lh_watch_receiver receiver;

	values_must(lh_watch_subscribe(&sender->watch, &receiver), "lh_watch_subscribe");
	if (lh_watch_changed(&receiver, LH_FOREVER) != -EPIPE)
		process_die("a receiver was not told of its sender's death");
	values_must(lh_watch_claim(&sender->watch, lease), "lh_watch_claim");
	return PEER_OWNER_DIED;
}

static const char *const also[] = { "lh_watch_read", "4 receivers", "16 receivers", NULL };

#define SENDER(sender)                                                                             \
	{                                                                                          \
		.name = "lh_watch", .create = create_nothing, .hold = be_sender,                   \
		.succeed = succeed_sender, .context = (sender), .also = also                       \
	}

static void watch_kill(struct run *run, const struct bench_case *self, double seconds)
{
	struct sender sender = { .arena = values_arena(65536) };
	const struct succession successions[] = { values_robust, SENDER(&sender) };

	sender.watch = place(sender.arena, 8);
	values_kill(run, self->name, seconds, successions, 2);
	values_end(sender.arena);
}

// ---- recovers ------------------------------------------------------------------------------------

static int await_sender(void *context)
{
	await_word(context, 0);
	return 0;
}

static void watch_recovers(struct run *run, const struct bench_case *self, double seconds)
{
	_Atomic uint32_t *word = process_shared_memory(sizeof(*word)); // 0: nothing was sent
	struct sender sender = { .arena = values_arena(65536) };
	const struct succession successions[] = { SENDER(&sender),
						  { .name = "bare futex",
						    .create = create_nothing,
						    .hold = create_nothing,
						    .succeed = await_sender,
						    .context = word } };

	sender.watch = place(sender.arena, 8);
	values_recover(run, self, seconds, successions, 2, NULL);
	values_end(sender.arena);
	munmap(word, sizeof(*word));
}
