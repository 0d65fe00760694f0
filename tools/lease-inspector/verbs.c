// SPDX-License-Identifier: Apache-2.0
//
// verbs.c: the verbs, and what --help says of each.

#include <string.h>

#include "inspector.h"

static const struct verb verbs[] = {
	{
		.name = "list",
		.usage = "list [ARENA]",
		.arena_optional = true,
		.takes = "ajow",
		.columns = &list_columns,
		.run = verb_list,
		.summary = "  list ARENA      what is placed in it, who holds it, who waits\n",
		.help = "What is placed in ARENA: type, offset, state, and of the first who holds "
			"it mode (x2:\n"
			"one of two; 2/3: of three permits or parties two are held or have "
			"joined), process and\n"
			"label; for how long it has been held, where a clock was read; how many "
			"wait and the\n"
			"longest of them for how long; the newest token. An array is one line. "
			"Without ARENA: as\n"
			"the verb arenas.\n"
			"\n"
			"  -a, --all            a line for each element of an array too; without "
			"ARENA: name the\n"
			"                       objects that cannot be opened as arenas, and why "
			"not\n",
	},
	{
		.name = "show",
		.usage = "show ARENA NAME|OFFSET",
		.object = OBJECT_NEEDED,
		.takes = "jw",
		.run = verb_show,
		.summary = "  show ARENA NAME everything known of one object\n",
		.help = "Everything that is known of one object: what it is, its state, token and "
			"data; who holds\n"
			"it; who waits for it, longest first; what had to be recovered of it. "
			"NAME is as other\n"
			"verbs show it: jobs, table[3], mutex@4096; or an offset, 4096 or "
			"0x1000.\n",
	},
	{
		.name = "leases",
		.usage = "leases ARENA",
		.takes = "jow",
		.columns = &leases_columns,
		.run = verb_leases,
		.summary = "  leases ARENA    who has leases, until when, and what they wait for\n",
		.help = "The leases: who owns them, how long they have left (EXPIRES), how many "
			"things they\n"
			"hold, what they wait for and how long they have. STATE is live; expired: "
			"its time is\n"
			"up, but the owner may still run; dead: the owner has ended, and what it "
			"held is free;\n"
			"or starting. PROCESS is what the kernel says of the owner: running, "
			"sleeping, stopped,\n"
			"zombie, gone. PID and TID are numbers of the owner's own pid namespace, "
			"which is\n"
			"another one than yours if FLAGS say other-pidns.\n",
	},
	{
		.name = "procs",
		.usage = "procs ARENA",
		.takes = "jow",
		.columns = &procs_columns,
		.run = verb_procs,
		.summary = "  procs ARENA     the processes that use it\n",
		.help = "The processes that have the arena open or own leases in it: their state, "
			"how many leases\n"
			"they own and how many of these are LOST, what these hold and wait for, "
			"and whether the\n"
			"library's own thread (KEEPER) runs there, which renews leases and keeps "
			"those of whole\n"
			"processes. OPEN is ? where /proc does not let you see.\n",
	},
	{
		.name = "tree",
		.usage = "tree ARENA",
		.takes = "ajow",
		.columns = &tree_columns,
		.run = verb_tree,
		.summary = "  tree ARENA      who waits for whom\n",
		.help = "Who waits for whom. Below each lease stands what it holds, below that who "
			"waits for\n"
			"it, and so on: those at the left margin wait for nobody. FOR is how long "
			"something has\n"
			"been held (where a clock was read) or waited for. A cycle of leases that "
			"wait for each\n"
			"other is marked DEADLOCK; \"damaged\" is what a lost holder left and "
			"nobody has\n"
			"declared consistent yet.\n"
			"\n"
			"  -a, --all            show leases that neither hold nor wait too\n",
	},
	{
		.name = "dot",
		.usage = "dot ARENA",
		.takes = "aw",
		.run = verb_dot,
		.summary = "  dot ARENA       the same as a graph, for Graphviz\n",
		.help = "Who waits for whom, in Graphviz's language: boxes are leases, ellipses "
			"objects; arrows\n"
			"lead from who waits to the object and from there to who holds it. What "
			"is in a deadlock\n"
			"is red, what is lost is dashed. lease-inspector dot ARENA | dot -Tsvg "
			">arena.svg\n"
			"\n"
			"  -a, --all            leases that neither hold nor wait too\n",
	},
	{
		.name = "top",
		.usage = "top ARENA",
		.takes = "cd",
		.run = verb_top,
		.summary = "  top ARENA       what happens in it, live\n",
		.help = "What happens in the arena, again and again: grants in a second as the "
			"tokens tell, who\n"
			"waits, what had to be recovered, each with its last minute; then the "
			"objects, busiest\n"
			"first, and the leases that wait, are lost or whose process is stopped. "
			"Keys: q quits,\n"
			"s sorts by something else, space looks at once. Into a pipe it prints "
			"frame after frame.\n"
			"Readers and permits have no tokens, so they are not among the grants.\n"
			"\n"
			"  -c, --count N        end after N frames\n"
			"  -d, --delay SECONDS  between two looks (1)\n",
	},
	{
		.name = "watch",
		.usage = "watch ARENA",
		.takes = "acdj",
		.run = verb_watch,
		.summary = "  watch ARENA     recoveries as they happen, as JSON lines\n",
		.help = "What has to be recovered from now on, each event a line of JSON as soon "
			"as "
			"it is seen.\n"
			"It ends with SIGINT or SIGTERM, or when nobody reads it any more, and "
			"then "
			"exits 0; with 1\n"
			"when the arena has no name any more. A new arena of the same name is gone "
			"over to.\n"
			"\n"
			"  -a, --all            begin with what the arena still remembers\n"
			"  -c, --count N        end after N events\n"
			"  -d, --delay SECONDS  between two looks (0.1)\n",
	},
	{
		.name = "history",
		.usage = "history ARENA",
		.takes = "jow",
		.columns = &history_columns,
		.run = verb_history,
		.summary = "  history ARENA   what had to be recovered\n",
		.help = "What had to be recovered, oldest first: owners that died, leases that "
			"expired, leased\n"
			"memory given back, deadlocks broken, owners killed, damage met; and what "
			"break, gc and\n"
			"rm did (broken, swept, removed). LEASE, PID, TID and COMMAND are those of "
			"the lost owner,\n"
			"BY is the process that noticed. TIME is reckoned back from now and wrong "
			"by as much as the\n"
			"clock was set since. The arena keeps the newest events only.\n",
	},
	{
		.name = "arenas",
		.usage = "arenas",
		.arena_optional = true,
		.takes = "ajow",
		.columns = &arenas_columns,
		.run = verb_arenas,
		.summary = "  arenas          the arenas there are\n",
		.help = "The arenas in /dev/shm, with the user's space of each (SIZE), how many "
			"objects, leases,\n"
			"lost leases, holds and waiting leases it has, what check says, whether "
			"its LAYOUT is this\n"
			"program's, and how many processes have it open, as far as you may see.\n"
			"\n"
			"  -a, --all            name the objects in /dev/shm that cannot be opened "
			"as arenas\n"
			"                       too, and why not\n",
	},
	{
		.name = "check",
		.usage = "check ARENA",
		.takes = "jow",
		.columns = &check_columns,
		.run = verb_check,
		.summary = "  check ARENA     audit; exits 0: clean, 3: stale, 4: deadlock, 5: "
			   "corrupt\n",
		.help = "Audits the whole arena, prints what it finds, and exits with the worst of "
			"it:\n"
			"  0  clean\n"
			"  3  stale: a lost lease that nobody has cleared away yet; harmless\n"
			"  4  deadlock: leases wait for each other in a cycle\n"
			"  5  corrupt: it is no arena, or something but the library wrote to it\n"
			"and with 1 if there is no such arena, 2 if it cannot be opened for "
			"another reason.\n",
	},
	{
		.name = "metrics",
		.usage = "metrics [ARENA]",
		.arena_optional = true,
		.takes = "ow",
		.run = verb_metrics,
		.summary = "  metrics [ARENA] counts for a monitoring system, of all arenas or "
			   "one\n",
		.help = "Counts for monitoring, in OpenMetrics' text format, of one arena or of "
			"all "
			"in /dev/shm.\n"
			"Objects are counted singly if they have a name.\n"
			"\n"
			"  -o, --output FILE    into FILE, which is replaced as a whole; as a "
			"textfile collector\n"
			"                       wants it\n",
	},
	{
		.name = "break",
		.usage = "break ARENA NAME|OFFSET",
		.object = OBJECT_NEEDED,
		.takes = "fjty",
		.run = verb_break,
		.summary = "  break ARENA NAME  frees a lock from who holds it, if that is lost\n",
		.help = "Ends the leases that hold the object, which frees all else they hold, "
			"too. "
			"Those that\n"
			"are lost already; with --force, those of owners that live too: one with a "
			"TTL is made to\n"
			"expire now and its owner is told; one without can only be taken from the "
			"dead, so its\n"
			"owner is killed (SIGKILL) and waited for. The next to be granted it is "
			"told that its\n"
			"holder died. Exits 1 if nobody holds it.\n"
			"\n"
			"  -f, --force          of owners that live, too\n"
			"      --dry-run        only say what would be done\n"
			"  -t, --timeout SECONDS  wait for so long for the end of who is killed "
			"(5)\n",
	},
	{
		.name = "gc",
		.usage = "gc ARENA",
		.takes = "jy",
		.run = verb_gc,
		.summary = "  gc ARENA        clears up behind lost leases\n",
		.help = "Clears up behind all lost leases and half-made placements of the dead. "
			"Nobody needs to:\n"
			"whoever wants something clears it up. Leases that have expired and whose "
			"owners run keep\n"
			"their slots, and are counted.\n"
			"\n"
			"      --dry-run        only say what would be done\n",
	},
	{
		.name = "rm",
		.usage = "rm ARENA [NAME|OFFSET]",
		.object = OBJECT_OPTIONAL,
		.takes = "fjty",
		.run = verb_rm,
		.summary = "  rm ARENA [NAME] removes an object, or the arena\n",
		.help = "Removes an object, which wants no other process to have the arena open; "
			"or "
			"the arena's\n"
			"name, as lh_arena_unlink does: who has it open goes on with what he has. "
			"Refused while\n"
			"leases of living owners hold the object, or anything in the arena.\n"
			"\n"
			"  -f, --force          end those leases first, as break --force does; "
			"remove also what\n"
			"                       is damaged or was made by another version\n"
			"      --dry-run        only say what would be done\n"
			"  -t, --timeout SECONDS  wait for so long for the end of who is killed "
			"(5)\n",
	},
};

enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

const struct verb *nth_verb(size_t i)
{
	return i < VERBS ? &verbs[i] : NULL;
}
