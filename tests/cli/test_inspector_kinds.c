// SPDX-License-Identifier: Apache-2.0
//
// What lease-inspector's verbs say of every kind of primitive, in one arena that has one or two of
// each: held, waited for, and then with all who hold something killed.
// ctest: TIER full only a change of lease-inspector would change it
// ctest: TIMEOUT 300

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "tests/cli/inspector_test.h"
#include "tests/support/peer.h"

// ---- the scene ----------------------------------------------------------------------------------

static char arena[64];
enum { EXIT_NOBODY = 1, EXIT_REFUSED = 2 }; // of lease-inspector break

// All that is placed; each process attaches to it by these same lines.
struct things {
	lh_arena *arena;
	lh_mutex mutex, guard;
	lh_rwlock rwlock;
	lh_semaphore semaphore;
	lh_barrier barrier;
	lh_condvar condvar;
	lh_once running, done;
	lh_watch watch, unclaimed;
	lh_cell cell;
};

static struct things place(void)
{
	struct things t;

	need_equal(lh_arena_open(arena, LH_CREATE, NULL, &t.arena), 0);
	need_equal(lh_mutex_at(t.arena, LH_ANYWHERE,
			       &(struct lh_mutex_options){ .name = "mutex", .data_size = 8 },
			       &t.mutex),
		   0);
	need_equal(lh_mutex_at(t.arena, LH_ANYWHERE, &(struct lh_mutex_options){ .name = "guard" },
			       &t.guard),
		   0);
	need_equal(lh_rwlock_at(t.arena, LH_ANYWHERE,
				&(struct lh_rwlock_options){ .name = "rwlock" }, &t.rwlock),
		   0);
	need_equal(
		lh_semaphore_at(t.arena, LH_ANYWHERE,
				&(struct lh_semaphore_options){ .name = "semaphore", .permits = 3 },
				&t.semaphore),
		0);
	need_equal(lh_barrier_at(t.arena, LH_ANYWHERE,
				 &(struct lh_barrier_options){ .name = "barrier", .parties = 4 },
				 &t.barrier),
		   0);
	need_equal(lh_condvar_at(t.arena, LH_ANYWHERE,
				 &(struct lh_condvar_options){ .name = "condvar" }, &t.condvar),
		   0);
	need_equal(lh_once_at(t.arena, LH_ANYWHERE,
			      &(struct lh_once_options){ .name = "once", .data_size = 8 },
			      &t.running),
		   0);
	need_equal(lh_once_at(t.arena, LH_ANYWHERE,
			      &(struct lh_once_options){ .name = "once, done", .data_size = 8 },
			      &t.done),
		   0);
	need_equal(lh_watch_at(t.arena, LH_ANYWHERE,
			       &(struct lh_watch_options){ .name = "watch", .max_size = 8 },
			       &t.watch),
		   0);
	need_equal(lh_watch_at(t.arena, LH_ANYWHERE,
			       &(struct lh_watch_options){ .name = "watch, new", .max_size = 8 },
			       &t.unclaimed),
		   0);
	need_equal(lh_cell_at(t.arena, LH_ANYWHERE,
			      &(struct lh_cell_options){ .name = "cell", .size = 8 }, &t.cell),
		   0);
	return t;
}

// Each role is a process of that name with one lease of that label. What it does may wait for ever.
static void lock_mutex(const struct things *t, lh_lease *lease)
{
	need_equal(lh_mutex_lock(&t->mutex, lease, LH_FOREVER, NULL), 0);
}

static void read_lock(const struct things *t, lh_lease *lease)
{
	need_equal(lh_rwlock_read_lock(&t->rwlock, lease, LH_FOREVER, NULL), 0);
}

static void write_lock(const struct things *t, lh_lease *lease)
{
	need_equal(lh_rwlock_write_lock(&t->rwlock, lease, LH_FOREVER, NULL), 0);
}

static void acquire_two(const struct things *t, lh_lease *lease)
{
	need_equal(lh_semaphore_acquire(&t->semaphore, lease, 2, LH_FOREVER), 0);
}

static void join(const struct things *t, lh_lease *lease)
{
	need_equal(lh_barrier_join(&t->barrier, lease), 0);
}

static void arrive(const struct things *t, lh_lease *lease)
{
	need_equal(lh_barrier_wait(&t->barrier, lease, LH_FOREVER, NULL), -EOWNERDEAD);
}

static void await_signal(const struct things *t, lh_lease *lease)
{
	need_equal(lh_mutex_lock(&t->guard, lease, LH_FOREVER, NULL), 0);
	need_equal(lh_condvar_wait(&t->condvar, &t->guard, lease, LH_FOREVER, NULL), 0);
}

// Its context is the line to tell, in the process that is to stand in the initialiser.
static int stand(void *data, void *context)
{
	const struct line *line = (const struct line *)context;

	(void)data;
	line_say(line, 0);
	line_hear(line);
	return 0;
}

static int succeed(void *data, void *context)
{
	(void)context;
	memcpy(data, "computed", 8);
	return 0;
}

static const struct line *own_line;

static void call(const struct things *t, lh_lease *lease)
{
	need_equal(lh_once_call(&t->running, lease, stand, (void *)(uintptr_t)own_line, LH_FOREVER),
		   0);
}

static void send(const struct things *t, lh_lease *lease)
{
	need_equal(lh_watch_send(&t->watch, lease, "one", 3), 0);
	need_equal(lh_watch_send(&t->watch, lease, "two", 3), 0);
}

static void draft(const struct things *t, lh_lease *lease)
{
	void *draft;

	need_equal(lh_cell_begin(&t->cell, lease, LH_FOREVER, &draft, NULL), 0);
}

static const struct role {
	const char *name;
	void (*act)(const struct things *, lh_lease *);
	const char *waits_for; // NULL: it holds something then
} roles[] = {
	{ "locks", lock_mutex, NULL },
	{ "lock-waits", lock_mutex, "mutex" },
	{ "reads", read_lock, NULL },
	{ "reads-too", read_lock, NULL },
	{ "write-waits", write_lock, "rwlock" },
	{ "has-two", acquire_two, NULL },
	{ "two-waits", acquire_two, "semaphore" },
	{ "joined", join, NULL },
	{ "arrived", arrive, "barrier" },
	{ "arrived-too", arrive, "barrier" },
	{ "awaits", await_signal, "condvar" },
	{ "calls", call, NULL },
	{ "call-waits", call, "once" },
	{ "sends", send, NULL },
	{ "drafts", draft, NULL },
	{ "draft-waits", draft, "cell" },
};
enum { ROLES = sizeof(roles) / sizeof(roles[0]) };

static struct things placed;
static struct peer peers[ROLES];
static uint64_t leases[ROLES];

static void play(const struct line *line, void *context)
{
	const struct role *role = (const struct role *)context;
	lh_lease *lease;

	prctl(PR_SET_NAME, role->name);
	const struct things t = place();

	need_equal(lh_lease_acquire(t.arena, &(struct lh_lease_options){ .label = role->name },
				    &lease),
		   0);
	line_say(line, (int64_t)lh_lease_id(lease));
	own_line = line;
	role->act(&t, lease);
	line_say(line, 0);
	line_hear(line);
}

// Looks until the lease waits; the test's time limit bounds that.
static void await_wait(uint64_t id)
{
	for (;; sched_yield()) {
		struct lh_lease_info info;
		uint64_t cursor = 0;

		while (lh_next_lease(placed.arena, &cursor, &info) == 0)
			if (info.id == id && info.waits_for)
				return;
	}
}

static int begin_empty(void **state)
{
	static unsigned number;

	watch_begin(state);
	snprintf(arena, sizeof(arena), "inspector-kinds-%d-%u", (int)getpid(), number++);
	placed = place();
	return 0;
}

static int begin(void **state)
{
	lh_lease *lease;

	begin_empty(state);
	need_equal(lh_lease_acquire(placed.arena, NULL, &lease), 0);
	need_equal(lh_once_call(&placed.done, lease, succeed, NULL, LH_FOREVER), 0);
	need_equal(lh_lease_release(lease), 0);
	for (size_t i = 0; i < ROLES; i++) {
		peers[i] = peer_start(play, (void *)(uintptr_t)&roles[i]);
		leases[i] = (uint64_t)line_hear(&peers[i].line);
		if (roles[i].waits_for)
			await_wait(leases[i]);
		else
			need_equal(line_hear(&peers[i].line), 0);
	}
	return 0;
}

static int end(void **state)
{
	for (size_t i = ROLES; i-- > 0;) // who waits before who would let go by its end
		if (peers[i].pid)
			peer_kill(&peers[i]);
	watch_end(state);
	lh_arena_close(placed.arena);
	lh_arena_unlink(arena);
	return 0;
}

// ---- what is said -------------------------------------------------------------------------------

// Of each object while all is held and waited for, once all who wait are gone and then all who
// hold, and when that has been cleared up behind.
static const struct expected {
	const char *object, *state, *mode, *lost, *cleared;
	json_int_t holders, waiters, used;
	const char *holds; // the role of one that has it, "": nobody
} expected[] = {
	{ "mutex", "held", "exclusive", "lost", "free", 1, 1, -1, "locks" },
	{ "guard", "free", "", "free", "free", 0, 0, -1, "" },
	{ "rwlock", "shared", "shared", "lost", "free", 2, 1, -1, "reads" },
	{ "semaphore", "full", "permit", "lost", "free", 2, 1, 3, "has-two" },
	{ "barrier", "joined", "party", "broken", "broken", 3, 2, 3, "joined" },
	{ "condvar", "awaited", "", "awaited", "idle", 0, 1, -1, "" },
	{ "once", "running", "exclusive", "lost", "free", 1, 1, -1, "calls" },
	{ "once, done", "done", "", "done", "done", 0, 0, -1, "" },
	{ "watch", "open", "exclusive", "lost", "closed", 1, 0, -1, "sends" },
	{ "watch, new", "free", "", "free", "free", 0, 0, -1, "" },
	{ "cell", "held", "exclusive", "lost", "free", 1, 1, -1, "drafts" },
};
enum { OBJECTS = sizeof(expected) / sizeof(expected[0]) };

static json_int_t entries(const json_t *document, const char *list)
{
	return (json_int_t)json_array_size(json_object_get(document, list));
}

// Holders come by the slots of their leases, which are drawn.
static bool is_among_holders(const json_t *row, const char *label)
{
	const json_t *holders = json_object_get(row, "holders");
	bool found = !*label && !json_array_size(holders);

	for (size_t i = 0; i < json_array_size(holders); i++)
		found |= strcmp(text_of(json_array_get(holders, i), "label"), label) == 0;
	return found;
}

static void list_tells_state_mode_and_holder_of_every_kind(void **state)
{
	json_t *list = inspect(0, "list", arena);
	int code;

	(void)state;
	assert_int_equal(entries(list, "placements"), OBJECTS);
	for (size_t i = 0; i < OBJECTS; i++) {
		const struct expected *e = &expected[i];
		const json_t *row = entry_named(list, "placements", "name", e->object);

		assert_string_equal(text_of(row, "state"), e->state);
		assert_string_equal(text_of(row, "mode"), e->mode);
		assert_true(is_among_holders(row, e->holds));
		assert_int_equal(entries(row, "holders"), e->holders);
		assert_int_equal(number_of(row, "waiters"), e->waiters);
		assert_int_equal(number_of(row, "longest_wait_ns") > 0, e->waiters > 0);
		assert_int_equal(number_of(row, "used"), e->used);
	}
	json_decref(list);

	struct output output = inspector(&code, "list %s --raw --noheadings -o mode,label,version",
					 arena);

	assert_string_equal(output.out, "exclusive locks -\n- - -\nshared\\x20x2 reads -\n"
					"permit\\x203/3 has-two -\nparty\\x203/4 joined -\n- - -\n"
					"exclusive calls -\n- - -\nexclusive sends 2\n- - -\n"
					"exclusive drafts -\n");
	output_free(&output);
}

// One of its permits is what who wants two has already; it waits for the other.
static void show_names_all_who_hold_and_wait(void **state)
{
	(void)state;
	for (size_t i = 0; i < OBJECTS; i++) {
		const struct expected *e = &expected[i];
		const json_t *waiter, *holder;
		char words[96];
		size_t at;

		if (strchr(e->object, ' ')) // its words would be two (run_program.h)
			continue;
		snprintf(words, sizeof(words), "%s %s", arena, e->object);
		json_t *show = inspect(0, "show", words);

		assert_string_equal(text_of(json_object_get(show, "object"), "state"), e->state);
		assert_int_equal(entries(show, "holders"), e->holders);
		assert_int_equal(entries(show, "waiters"), e->waiters);
		json_array_foreach(json_object_get(show, "holders"), at, holder)
			assert_string_equal(text_of(holder, "mode"), e->mode);
		json_array_foreach(json_object_get(show, "waiters"), at, waiter)
		{
			for (size_t r = 0; r < ROLES; r++)
				if (leases[r] == (uint64_t)number_of(waiter, "lease"))
					assert_string_equal(roles[r].waits_for, e->object);
		}
		json_decref(show);
	}
}

static void leases_count_what_is_held_not_what_is_waited_for(void **state)
{
	json_t *document = inspect(0, "leases", arena);

	(void)state;
	for (size_t i = 0; i < ROLES; i++) {
		const json_t *lease = entry_named(document, "leases", "label", roles[i].name);
		const bool has_some = !roles[i].waits_for ||
				      strcmp(roles[i].name, "two-waits") == 0 ||
				      roles[i].act == arrive;

		assert_int_equal(number_of(lease, "held"), has_some);
		assert_string_equal(text_of(lease, "waits_for_name"),
				    roles[i].waits_for ? roles[i].waits_for : "");
	}
	json_decref(document);
}

// Nobody is drawn below what it holds itself: that would be a deadlock.
static void tree_has_nobody_wait_for_itself(void **state)
{
	int code;
	struct output output = inspector(&code, "tree %s --raw --noheadings", arena);
	const char *above = strstr(output.out, "see\\x20above");

	(void)state;
	// The writer, below the second reader, and nothing else.
	assert_non_null(above);
	assert_null(strstr(above + 1, "see\\x20above"));
	assert_non_null(strstr(output.out, "to\\x20be\\x20signalled"));
	assert_null(strstr(output.out, "DEADLOCK"));
	output_free(&output);
	output = inspector(&code, "dot %s", arena);
	assert_non_null(strstr(output.out, "[label=\"permit\"]"));
	assert_non_null(strstr(output.out, "[label=\"party\"]"));
	assert_null(strstr(output.out, "color=red"));
	output_free(&output);
}

static void metrics_count_permits_and_parties(void **state)
{
	int code;
	struct output output = inspector(&code, "metrics %s", arena);

	(void)state;
	for (size_t i = 0; i < OBJECTS; i++) {
		char sample[160];

		snprintf(sample, sizeof(sample), "leasehold_object_used{arena=\"%s\",object=\"%s\"",
			 arena, expected[i].object);
		assert_int_equal(strstr(output.out, sample) != NULL, expected[i].used > 0);
	}
	output_free(&output);
}

// Two frames, each with all of them.
static void top_names_every_kind_in_each_frame(void **state)
{
	int code;
	struct output output = inspector(&code, "top %s --count 2 --delay 0.01", arena);

	(void)state;
	for (size_t i = 0; i < OBJECTS; i++) {
		const char *seen = output.out;
		char line[64];

		snprintf(line, sizeof(line), "\n%-20s ", expected[i].object);
		for (int frame = 0; frame < 2; frame++) {
			const char *const found = strstr(seen, line);

			if (!found)
				fail_msg("%s is not in frame %d: %s", expected[i].object, frame,
					 output.out);
			seen = found ? found + 1 : "";
		}
	}
	output_free(&output);
}

// All that is printed as JSON is what the schema says, of every kind.
static void json_is_what_the_schema_says(void **state)
{
	static const char verbs[] = "list leases procs tree history check";
	static const char *const shown[] = { "rwlock", "semaphore", "barrier", "condvar",
					     "once",   "watch",     "cell" };
	static const char
		script[] = "import json, sys\n"
			   "try: import jsonschema\n"
			   "except ImportError: sys.exit(0)\n" // cli.inspector_schema says so
			   "schema = jsonschema.Draft7Validator(json.load(open(sys.argv[1])))\n"
			   "text, read = sys.stdin.read().strip(), json.JSONDecoder().raw_decode\n"
			   "count = 0\n"
			   "while text:\n"
			   " document, end = read(text)\n"
			   " schema.validate(document)\n"
			   " text, count = text[end:].strip(), count + 1\n"
			   "sys.exit(count != 13)\n";
	char command[2048];
	size_t used;

	(void)state;
	used = (size_t)snprintf(command, sizeof(command),
				"(for verb in %s; do '%s' $verb %s --json; done; for kind in",
				verbs, inspector_path(), arena);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		used += (size_t)snprintf(command + used, sizeof(command) - used, " %s", shown[i]);
	snprintf(command + used, sizeof(command) - used,
		 "; do '%s' show %s $kind --json; done) | python3 -c '%s' '%s'", inspector_path(),
		 arena, script, INSPECTOR_SCHEMA);
	assert_int_equal(system(command), 0);
}

// ---- after their ends ---------------------------------------------------------------------------

// Those who wait first, so that nobody clears up behind those who hold; but that its fellow has died
// the other party that has arrived is told, and so the barrier is broken.
static void kill_all(void)
{
	for (int holders = 0; holders <= 1; holders++)
		for (size_t i = 0; i < ROLES; i++) {
			if (holders == !roles[i].waits_for)
				peer_kill(&peers[i]);
			if (strcmp(roles[i].name, "arrived") == 0 && !holders)
				line_hear(&peers[i + 1].line);
		}
}

static void assert_states(bool cleared)
{
	json_t *list = inspect(0, "list", arena);

	for (size_t i = 0; i < OBJECTS; i++) {
		const json_t *row = entry_named(list, "placements", "name", expected[i].object);

		assert_string_equal(text_of(row, "state"),
				    cleared ? expected[i].cleared : expected[i].lost);
	}
	json_decref(list);
}

// G4: who takes what the killed held is not needed for it to be cleared; gc does so, and history
// tells of each.
static void the_killed_are_lost_until_gc_and_then_history(void **state)
{
	(void)state;
	kill_all();
	assert_states(false);
	assert_int_equal(exit_of("check", arena), LH_CHECK_STALE);
	assert_int_equal(exit_of("gc", arena), 0);
	assert_int_equal(exit_of("check", arena), LH_CHECK_CLEAN);
	assert_states(true);
	json_t *history = inspect(0, "history", arena);

	for (size_t i = 0; i < OBJECTS; i++) {
		const json_t *event = entry_named(history, "events", "object", expected[i].object);

		// Readers leave nothing to recover but their lease.
		if (expected[i].holders && strcmp(expected[i].object, "rwlock") != 0)
			assert_string_equal(text_of(event, "kind"), "owner-died");
	}
	for (size_t i = 0; i < ROLES; i++)
		assert_non_null(entry_numbered(history, "events", "lease", leases[i]));
	json_decref(history);
	assert_int_equal(exit_of("gc", arena), 0);

	int code;
	struct output output = inspector(&code, "watch %s --all --count 3", arena);

	assert_int_equal(code, 0);
	assert_non_null(strstr(output.out, "owner-died"));
	output_free(&output);
}

// Of the living nothing is broken; of the dead everything that somebody holds.
static void break_frees_every_kind_from_the_dead_alone(void **state)
{
	(void)state;
	for (int dead = 0; dead <= 1; dead++) {
		for (size_t i = 0; i < OBJECTS; i++) {
			char words[96];

			snprintf(words, sizeof(words), "%s %s", arena, expected[i].object);
			if (!strchr(expected[i].object, ' '))
				assert_int_equal(exit_of("break", words), expected[i].holders == 0
										  ? EXIT_NOBODY
									  : dead ? 0
										 : EXIT_REFUSED);
		}
		if (!dead)
			kill_all();
	}
	assert_int_equal(exit_of("gc", arena), 0); // those who only waited
	assert_states(true);
}

// G9, as a reader sees it: whichever kind it is, damage is told, and the others are as they were.
static void damage_of_any_kind_is_corrupt(void **state)
{
	(void)state;
	for (size_t i = 0; i < OBJECTS; i++) {
		json_t *list = inspect(0, "list", arena);
		const json_t *row = entry_named(list, "placements", "name", expected[i].object);
		void *bytes = lh_arena_range(placed.arena, (uint64_t)number_of(row, "offset"), 64);
		char good[64];

		assert_non_null(bytes);
		json_decref(list);
		memcpy(good, bytes, sizeof(good));
		memset(bytes, 0xff, sizeof(good));
		const int found = exit_of("check", arena);

		list = inspect(0, "list", arena);
		row = entry_named(list, "placements", "name", expected[i].object);
		if (found != LH_CHECK_CORRUPT || strcmp(text_of(row, "state"), "corrupt") != 0)
			fail_msg("%s: check %d, %s", expected[i].object, found,
				 text_of(row, "state"));
		json_decref(list);
		memcpy(bytes, good, sizeof(good));
	}
}

int main(void)
{
	const struct CMUnitTest looks[] = {
		cmocka_unit_test(list_tells_state_mode_and_holder_of_every_kind),
		cmocka_unit_test(show_names_all_who_hold_and_wait),
		cmocka_unit_test(leases_count_what_is_held_not_what_is_waited_for),
		cmocka_unit_test(tree_has_nobody_wait_for_itself),
		cmocka_unit_test(metrics_count_permits_and_parties),
		cmocka_unit_test(top_names_every_kind_in_each_frame),
		cmocka_unit_test(json_is_what_the_schema_says),
	};
	const struct CMUnitTest ends[] = {
		cmocka_unit_test_setup_teardown(the_killed_are_lost_until_gc_and_then_history,
						begin, end),
		cmocka_unit_test_setup_teardown(break_frees_every_kind_from_the_dead_alone, begin,
						end),
		cmocka_unit_test_setup_teardown(damage_of_any_kind_is_corrupt, begin_empty, end),
	};
	const int failed = cmocka_run_group_tests(looks, begin, end);

	return failed + cmocka_run_group_tests(ends, NULL, NULL);
}
