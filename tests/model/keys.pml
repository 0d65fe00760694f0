/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of named locks: who finds, makes and retires a key's entry, with death at any step. (A stop is a step
 * that is not taken for a while.)
 *
 * Abstracted: one bucket; one record for each process, for it has one key at a time; the map of users, which
 * only spares looks; blocks of long keys. Memory is sequentially consistent: each of the two orders of a
 * store and a load has a full fence in the code. The entry's lock is a word with an owner and a token; a
 * dead owner is replaced by whoever comes, and does not count as one who refers.
 *
 * Link 0 is the bucket's head; link e that of entry e, from 1.
 *
 * Labels (docs/protocol/locks.md): walk 1, unlink; compare 2; record 4; confirm 5; take 6; link 9; give up;
 * retiring 10, records 11, back, retired 12; floor 13; mark 14; walk 15; free 16.
 *
 * Shown by assertions: no two hold a key; its tokens rise; when all is over, every entry can be had again and no
 * list has it. By absence of invalid end states: nobody waits for ever.
 *
 * config: -DN=2 -DE=1 -DROUNDS=1 -DDEATHS=0
 * quick: -DN=2 -DE=1 -DROUNDS=1 -DDEATHS=0 -DKEYS=1
 * ci: -DN=2 -DE=1 -DROUNDS=1 -DDEATHS=1
 *
 * must-fail: -DNO_CONFIRM -DN=2 -DE=1 -DROUNDS=2 -DDEATHS=0   takes what it found without another look
 * must-fail: -DNO_RESCUE -DN=3 -DE=1 -DROUNDS=1 -DDEATHS=0   leaves it RETIRING
 * must-fail: -DNO_RECORDS -DN=2 -DE=1 -DROUNDS=1 -DDEATHS=0   retires without looking for records
 * must-fail: -DNO_TAG -DN=2 -DE=2 -DROUNDS=1 -DDEATHS=0   links although the head has changed
 *
 * By hand, for it takes long: -DLATE_STATE -DN=2 -DE=2 -DROUNDS=2 -DDEATHS=0, which takes a draft that is not linked for
 * the key's entry, fails after 1.9 million states.
 */
#ifndef KEYS
#define KEYS 2
#endif
#define FREE 0
#define USED 1
#define RETIRING 2
#define RETIRED 3
/* what a walk is for */
#define FIND 0
#define DRAFT 1
#define FINISH 2

byte to[E + 1], tag[E + 1];	/* links */
bit mark[E + 1];
byte phase[E + 1], tries[E + 1], tenancy[E + 1];
byte key[E + 1];		/* key + 1 */
byte owner[E + 1];		/* process + 1 */
byte token[E + 1], floor;
byte record[N];			/* entry */
byte inside[KEYS], last[KEYS];
bit dead[N], kill[N], over[N];
byte deaths;

#define IS(e, p) (phase[e] == (p) && tries[e] == r && tenancy[e] == t)

proctype User(byte me)
{
	byte k, d;		/* the key it wants; its draft */
	byte mode, before;	/* of the walk; of the one that FINISH interrupts */
	byte at, li, lt, h;	/* the walk's place; the head's tag when it began */
	byte ni, nt, p, t, r;	/* of the entry looked at, or to be retired */
	byte e, q, rounds;
	bit nm, used;

	{
	skip;
start:	atomic {
		if
		:: rounds == ROUNDS -> goto out
		:: else -> rounds++
		fi;
		if
		:: k = 0
		:: me == 0 || rounds > 1 -> k = KEYS - 1 /* else by symmetry */
		fi;
		mode = FIND; d = 0 };
walk:	atomic { ni = 0; nt = 0; nm = 0;
		if
		:: mode != FINISH -> p = 0; t = 0; r = 0; e = 0
		:: else
		fi;
		at = 0; li = to[0]; lt = tag[0]; h = tag[0] };
step:	if
	:: atomic { li == 0 && mode == FIND -> goto make }
	:: atomic { li == 0 && mode == DRAFT -> goto link }
	:: atomic { li == 0 && mode == FINISH -> goto free }
	:: atomic { li != 0 -> ni = to[li]; nt = tag[li]; nm = mark[li];
#ifndef LATE_STATE
		if
		:: mode != FINISH -> p = phase[li]; t = tenancy[li]; r = tries[li]
		:: else
		fi
#endif
		}
	fi;
	atomic {
		if
		:: to[at] != li || tag[at] != lt || mark[at] -> goto walk
		:: else
		fi };
	if
	:: atomic { nm ->
		if
		:: to[at] == li && tag[at] == lt && !mark[at] ->
			to[at] = ni; tag[at]++; lt = tag[at]; li = ni;
			if
			:: at == 0 -> h = tag[0]
			:: else
			fi;
			goto step
		:: else -> goto walk
		fi }
	:: atomic { !nm && mode == FINISH -> goto next }
	:: atomic { !nm && mode != FINISH }
	fi;
#ifdef LATE_STATE
	atomic { p = phase[li]; t = tenancy[li]; r = tries[li] };
#endif
	if
	:: atomic { key[li] != k + 1 -> goto next }
	:: atomic { key[li] == k + 1 }
	fi;
	if
	:: atomic { tenancy[li] != t -> goto walk }
	:: atomic { tenancy[li] == t && p == FREE -> goto next }
	:: atomic { tenancy[li] == t && p == RETIRED -> e = li; before = mode; goto finish }
	:: atomic { tenancy[li] == t && p != FREE && p != RETIRED }
	fi;
	if
	:: atomic { mode == DRAFT -> goto giveup }
	:: atomic { mode == FIND -> e = li; goto refer }
	fi;
next:	atomic { at = li; li = ni; lt = nt; goto step };

refer:	record[me] = e;
confirm: atomic {
#ifdef NO_CONFIRM
		goto lock
#else
		if
		:: tenancy[e] == t && phase[e] == USED -> goto lock
#ifdef NO_RESCUE
		:: tenancy[e] == t && phase[e] == RETIRING -> goto lock
#else
		:: tenancy[e] == t && phase[e] == RETIRING ->
			phase[e] = USED; tries[e]++; goto lock
#endif
		:: else -> record[me] = 0; goto walk
		fi
#endif
	};

make:	/* an entry for it: any that can be had; none is -ENOSPC */
	if
	:: e = 1
#if E > 1
	:: e = 2
#endif
	:: goto start
	fi;
	atomic { p = phase[e]; t = tenancy[e]; r = tries[e]; before = FIND };
	if
	:: atomic { p == FREE -> goto take }
	:: atomic { p == RETIRED -> goto finish }
	:: atomic { p == USED ->
		if
		:: IS(e, USED) -> phase[e] = RETIRING
		:: else -> goto walk
		fi }
	:: atomic { p == RETIRING }
	fi;
	used = 0;
#ifndef NO_RECORDS
	q = 0;
	do
	:: atomic { q < N -> used = used || (record[q] == e && !dead[q]); q++ }
	:: atomic { q == N -> q = 0; break }
	od;
#endif
	if
	:: atomic { used ->
		if
		:: IS(e, RETIRING) -> phase[e] = USED; tries[e]++
		:: else
		fi;
		used = 0; goto walk }
	:: atomic { !used ->
		if
		:: IS(e, RETIRING) -> phase[e] = RETIRED
		:: else -> goto walk
		fi }
	fi;

finish:	atomic { q = token[e] };
	atomic {
		if
		:: !IS(e, RETIRED) -> q = 0; goto resume
		:: else
		fi };
	atomic {
		if
		:: floor < q -> floor = q
		:: else
		fi;
		q = 0 };
marking: atomic { ni = to[e]; nt = tag[e]; nm = mark[e] };
	atomic {
		if
		:: !IS(e, RETIRED) -> goto resume
		:: else
		fi };
	atomic {
		if
		:: nm
		:: !nm && to[e] == ni && tag[e] == nt && !mark[e] -> mark[e] = 1; tag[e]++
		:: else -> goto marking
		fi };
	atomic { mode = FINISH; goto walk };
free:	atomic {
		if
		:: IS(e, RETIRED) -> phase[e] = FREE; tries[e] = 0
		:: else
		fi };
resume:	atomic { mode = before; goto walk };

take:	record[me] = e;
	atomic {
		if
		:: IS(e, FREE) -> phase[e] = USED; tries[e] = 0; tenancy[e]++; d = e
		:: else -> record[me] = 0; goto walk
		fi };
	key[d] = k + 1;
	mode = DRAFT;
	goto walk;
link:	atomic {
		if
		:: token[d] < floor -> token[d] = floor
		:: else
		fi };
	atomic { to[d] = to[0]; tag[d]++; mark[d] = 0; lt = tag[0] };
	atomic {
		if
#ifndef NO_TAG
		:: tag[0] == h && lt == h ->
#else
		:: tag[0] == lt ->
#endif
			to[0] = d; tag[0]++; e = d; mode = FIND; d = 0
		:: else -> goto walk
		fi };
	goto lock;
giveup:	atomic {
		assert(tenancy[d] > 0 && (phase[d] == USED || phase[d] == RETIRING));
		phase[d] = FREE; tries[d] = 0 };
	atomic { record[me] = 0; mode = FIND; d = 0; goto walk };

lock:	atomic { ni = 0; nt = 0; nm = 0; p = 0; t = 0; r = 0; at = 0; li = 0; lt = 0; h = 0 };
	atomic { owner[e] == 0 || dead[owner[e] - 1] ->
		owner[e] = me + 1; token[e]++;
		assert(inside[k] == 0 || dead[inside[k] - 1]);
		assert(token[e] > last[k]);
		inside[k] = me + 1; last[k] = token[e] };
	atomic { assert(inside[k] == me + 1 && key[e] == k + 1); inside[k] = 0; owner[e] = 0 };
	atomic { record[me] = 0; goto start };
out:	atomic { over[me] = 1; k = 0; d = 0; mode = 0; before = 0; at = 0; li = 0; lt = 0; h = 0; ni = 0; nt = 0; p = 0; t = 0; r = 0; e = 0; q = 0; nm = 0 }
	} unless {
		atomic { kill[me] ->
			k = 0; d = 0; mode = 0; before = 0; at = 0; li = 0; lt = 0; h = 0; ni = 0; nt = 0;
			p = 0; t = 0; r = 0; e = 0; q = 0; rounds = 0; nm = 0; used = 0 }
	}
}

proctype Fate()
{
	byte i;

	do
	:: atomic { deaths < DEATHS && i < N ->
		if
		:: !over[i] -> kill[i] = 1; dead[i] = 1; over[i] = 1; deaths++
		:: skip
		fi;
		i++ }
	:: atomic { deaths == DEATHS || i == N -> break }
	od
}

#if N > 2
#define ALL_OVER (over[0] && over[1] && over[2])
#else
#define ALL_OVER (over[0] && over[1])
#endif

/* When all is over: whatever an entry is, it can be freed, and then no list has it. */
proctype Heir()
{
	byte e, at, steps;

	atomic {
		ALL_OVER;
		e = 1;
		do
		:: e <= E ->
			if
			:: phase[e] != FREE -> phase[e] = RETIRED; mark[e] = 1
			:: else
			fi;
			e++
		:: else -> break
		od;
		at = 0;
		do
		:: to[at] == 0 -> break
		:: to[at] != 0 && mark[to[at]] -> to[at] = to[to[at]]; steps++; assert(steps <= E)
		:: to[at] != 0 && !mark[to[at]] -> at = to[at]; steps++; assert(steps <= E)
		od;
		assert(to[0] == 0)
	}
}

init
{
	byte i;

	atomic {
		do
		:: i < N -> run User(i); i++
		:: else -> break
		od;
		run Fate();
		run Heir()
	}
}
