/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A barrier: arriving, completing, withdrawing, joining, leaving, reset; parties that die at any step
 * or expire and go on, with both policies.
 *
 * Abstracted: a place's sequence makes a CAS of it exact, so it is modelled as what it is for: who
 * looked at a place may change it unless somebody has changed it since (ref). The epoch is modelled.
 * A lease is lost from the moment that its owner's liveness word is marked or its expiry has passed;
 * who judges it looks at it and at the place in one step, as incarnations never come back. Killed at
 * a step, a process does nothing more; its word is marked some time later, and until then the kernel
 * may choose it for a wake. The mark wakes one sleeper that is armed on it; an expiry wakes all who
 * sleep until then. There is no backstop.
 *
 * Labels (docs/protocol/barrier.md): arrive 1 place -> ARRIVED; look 2 load the word; scan 3 the
 * places, then the lives; complete 4 CAS the word, then wake, then say so (awake 4c); learnt 4b of it:
 * the same if nobody has said so, as who completed it may have died before; say 5a that I sleep; arm 5
 * those after me, up to the first that has arrived; sleep 6; told 7 of a death: look at every life, then, before I sleep again or
 * return, wake all; withdraw 8 place, then epoch; drop 9 a lost party: break the word, then the place, or the place, then the epoch; join 10 JOINING, epoch
 * and wake, member. Reset: evict and mend each place, end.
 *
 * Shown by assertions: no phase is complete while a living member of it does not wait in it, or with
 * an arrival that is older than a break (check_complete); each has one leader; no wait says
 * -EOWNERDEAD unless the barrier broke during it (told_broken); nobody breaks it but for a loss that
 * was not mended yet (drop); at rest, who sleeps waits for somebody who may come yet, with no break
 * or loss untold (Monitor).
 *
 * config: -DN=3 -DDEATHS=1 -DSHRINK=1
 * config: -DN=2 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=1 -DROUNDS=2
 * config: -DN=2 -DMEMBERS=1 -DJOINERS=1 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=0
 * config: -DN=2 -DJOINERS=1 -DREUSE=1 -DDEATHS=1 -DRESETS=1 -DSHRINK=0   who joins has the lease slot of the dead
 * config: -DN=2 -DDEATHS=1 -DEXPIRIES=1 -DRESETS=1 -DSHRINK=0
 * quick: -DN=2 -DEXPIRIES=1 -DRESETS=1 -DSHRINK=0
 * quick: -DN=2 -DMEMBERS=1 -DJOINERS=1 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=0
 * ci: -DN=3 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=0
 * ci: -DN=2 -DJOINERS=1 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=1   joins where phases do without it
 * ci: -DN=2 -DEXPIRIES=1 -DRESETS=2 -DTRIES=2 -DSHRINK=0   two resets at once
 * ci: -DN=3 -DMEMBERS=2 -DEXPIRIES=1 -DRESETS=1 -DSHRINK=0 -DSTALE   a loss behind the reset's back
 *
 * must-fail: -DNO_EPOCH -DN=2 -DGIVEUPS=1 -DSHRINK=0   withdrawing counts no epoch up
 * must-fail: -DEPOCH_FIRST -DN=2 -DGIVEUPS=1 -DSHRINK=0   withdrawing: epoch before place
 * must-fail: -DWITHDRAW_IN_SILENCE -DN=3 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=0   withdraws, wakes nobody
 * must-fail: -DNO_TELL -DN=3 -DDEATHS=1 -DSHRINK=1   told of a death, looks and tells as if not
 * must-fail: -DNO_WAKE -DN=3 -DDEATHS=1 -DSHRINK=1   completed without a party, wakes nobody
 * must-fail: -DNO_PASS -DN=3 -DDEATHS=1 -DSHRINK=0   learns of it, passes nothing on
 * must-fail: -DWOKEN_FIRST -DN=3 -DDEATHS=1 -DSHRINK=1   says that all are awake, then wakes them
 * must-fail: -DSAYS_NOTHING -DN=2 -DSHRINK=0   sleeps without saying so
 * must-fail: -DSLEPT_FIRST -DN=2 -DSHRINK=0   who completes looks for sleepers, then completes
 * must-fail: -DNO_CHAIN -DN=3 -DDEATHS=2 -DSHRINK=0   watches only those that have not arrived
 * must-fail: -DJOIN_LATE -DN=2 -DMEMBERS=1 -DJOINERS=1 -DDEATHS=1 -DSHRINK=0   joins without a wake
 * must-fail: -DNO_EXPIRY -DN=2 -DEXPIRIES=1 -DSHRINK=0   sleeps past the expiry of those it watches
 * must-fail: -DNO_SEQUENCE -DN=2 -DEXPIRIES=1 -DRESETS=2 -DSHRINK=0   places are compared by what they say alone
 * must-fail: -DSAME_EPOCH -DN=3 -DDEATHS=1 -DRESETS=1 -DSHRINK=0   reset counts no epoch up
 * must-fail: -DKEEPS_ARRIVALS -DN=2 -DJOINERS=1 -DDEATHS=1 -DRESETS=1 -DSHRINK=0   reset leaves arrivals at the broken phase
 * must-fail: -DNO_BREAK_AGAIN -DN=3 -DMEMBERS=2 -DEXPIRIES=1 -DRESETS=1 -DSHRINK=0 -DSTALE   a LOST place is waited for
 * must-fail: -DLOST_FIRST -DN=3 -DJOINERS=1 -DREUSE=1 -DDEATHS=1 -DSHRINK=1   drop: that it is still lost before the place
 * must-fail: -DLEAVE_IN_SILENCE -DN=2 -DJOINERS=1 -DDEATHS=1 -DGIVEUPS=1 -DROUNDS=2 -DSHRINK=1   a SHRUNK place is given back without a wake
 */
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef EXPIRIES
#define EXPIRIES 0
#endif
#ifndef GIVEUPS
#define GIVEUPS 0
#endif
#ifndef MEMBERS
#define MEMBERS N			/* who have joined; the other places are nobody's yet */
#endif
#ifndef JOINERS
#define JOINERS 0
#endif
#ifndef RESETS
#define RESETS 0			/* who reset it, once each, when it has broken */
#endif
#ifndef TRIES
#define TRIES (1 + RESETS)		/* waits of one party that may end with -EOWNERDEAD */
#endif
#define P (MEMBERS + JOINERS)		/* parties */
#define ALL (P + RESETS)

#define JOINING 1			/* flags of a place */
#define SHRUNK 2
#define LOST 4

byte phase, epoch;			/* the word */
bit broken;
byte slept;				/* the highest phase that somebody has slept for */
byte woken;				/* the highest phase whose sleepers have all been woken */
byte own[N], flag[N], arrived[N];	/* places: name + 1; JOINING ...; the phase arrived at */
byte ref[N];				/* who has looked at it since its last change, as bits */
byte who[P];				/* the party whose lease has that name */
byte dead, kill, over, asleep;		/* who is, as bits; over: its lease has expired */
byte armed[P];				/* lives that a sleeper is armed on, as bits */
byte deaths, expiries, giveups;
/* ghosts */
byte waits[P];				/* waits in this phase, for all others can tell */
byte fresh;				/* who arrived since the last break; */
byte calm;				/* in whose call it was never broken; */
byte ended;				/* who comes no more, and lives */
byte leaders;				/* of the latest phase */

#define HAS(set, x) (((set) >> (x)) & 1)
#define PUT(set, x) set = set | (1 << (x))
#define OUT(set, x) set = set & ~(1 << (x))
#define GONE(x) HAS(dead | over, x)
#define SAME (wp == phase && we == epoch && wb == broken)

#ifdef NO_SEQUENCE
#define LOOK_AT(p) so = own[p]; sf = flag[p]; sa = arrived[p]
#define EXACT(p) (own[p] == so && flag[p] == sf && arrived[p] == sa)
#define FORGET(p) so = 0; sf = 0; sa = 0
#define KEEP_LOOK(p)
#define IS_AS_I_LEFT_IT(p) (own[p] == name + 1 && flag[p] == 0 && arrived[p] == goal)
#define CHANGED(p)
#else
#define LOOK_AT(p) ref[p] = ref[p] | (1 << me)
#define EXACT(p) ((ref[p] >> me) & 1)
#define FORGET(p) ref[p] = ref[p] & ~(1 << me)
#define KEEP_LOOK(p) LOOK_AT(p)
#define IS_AS_I_LEFT_IT(p) EXACT(p)
#define CHANGED(p) ref[p] = 0
#endif

#define wake_word() asleep = 0

/* Who sleeps for phase goal, if not told yet: then says that they are awake. */
inline wake_sleepers(some_sleep)
{
	if
	:: some_sleep ->
		if
		:: woken < goal ->
#ifdef WOKEN_FIRST
			atomic { woken = goal };
			wake_word()
#else
			wake_word();
			atomic {
				if
				:: woken < goal -> woken = goal
				:: else
				fi }
#endif
		:: else
		fi
	:: else
	fi
}

inline count_up()
{
	if
	:: !broken -> epoch++
	:: else
	fi
}

#define break_it() broken = 1; fresh = 0; calm = 0

/* Place p was name t's, of party w, who is lost. Looks again, then takes it away; one time round. */
inline drop(p)
{
	atomic { wp = phase; we = epoch; wb = broken };
#ifdef LOST_FIRST
	atomic {
		if
		:: who[t] != w -> goto dropped
		:: else
		fi };
	atomic {
		if
		:: own[p] != t + 1 -> goto dropped
		:: else -> LOOK_AT(p)
		fi };
#else
	atomic {
		if
		:: own[p] != t + 1 || who[t] != w -> goto dropped
		:: else -> LOOK_AT(p)
		fi };
#endif
#if !SHRINK
	atomic {
		if
		:: (flag[p] & JOINING) || wb
		:: !((flag[p] & JOINING) || wb) && SAME ->
			assert(own[p] == t + 1 && GONE(who[t])); break_it()
		:: else -> FORGET(p); goto dropping
		fi };
#endif
	atomic {
		if
		:: EXACT(p) ->
			assert(GONE(who[t]));
			own[p] = 0; arrived[p] = 0;
#if SHRINK
			flag[p] = ((flag[p] & JOINING) -> (flag[p] & SHRUNK) : SHRUNK);
#else
			flag[p] = ((flag[p] & JOINING) -> 0 : LOST);
#endif
			CHANGED(p); FORGET(p)
		:: else -> FORGET(p); goto dropping
		fi };
dropped:
	atomic { count_up(); wp = 0; we = 0; wb = 0; w = 0; t = 0; p = 0; i = 0 };
	wake_word()
}

/* The word said wp, and all places were seen. */
inline check_complete()
{
	n = 0;
	do
	:: n < N ->
		if
		:: own[n] && !(flag[n] & JOINING) && own[n] != name + 1 ->
			assert(GONE(who[own[n] - 1]) || HAS(kill, who[own[n] - 1]) ||
			       waits[who[own[n] - 1]] == phase + 1)
		:: else
		fi;
		n++
	:: else -> break
	od;
	n = 0;
	do
	:: n < P -> assert(waits[n] != phase + 1 || HAS(fresh, n) || GONE(n) || HAS(kill, n)); n++
	:: else -> break
	od;
	n = 0; leaders = 0
}

/* Of the deaths that woke me: all who sleep on those lives, and all who sleep at the barrier. */
inline tell()
{
	if
	:: d_step { heard ->
		n = 0;
		do
		:: n < P ->
			if
			:: armed[n] & heard -> OUT(asleep, n)
			:: else
			fi;
			n++
		:: else -> n = 0; heard = 0; break
		od };
		wake_word()
	:: else
	fi
}

/* Where a joiner may stand: a place that is waited for, before one that phases do without. */
#define FREE(p) (own[p] == 0 && !(flag[p] & LOST))
#if N > 2
#define SOME_FREE (FREE(0) || FREE(1) || FREE(2))
#define HAS_NONE(name) (own[0] != (name) + 1 && own[1] != (name) + 1 && own[2] != (name) + 1)
#else
#define SOME_FREE (FREE(0) || FREE(1))
#define HAS_NONE(name) (own[0] != (name) + 1 && own[1] != (name) + 1)
#endif
#ifdef REUSE				/* it gets the lease slot of the one that died */
#define NAME REUSE
#define NAME_IS_FREE (HAS(dead, REUSE) && HAS_NONE(REUSE))
#else
#define NAME me
#define NAME_IS_FREE true
#endif

proctype Party(byte me)
{
	byte name, at, goal, wp, we, p, i, t, w, n, lives, round, tries, was, heard;
	bit wb, bad, joined, part;
#ifdef NO_SEQUENCE
	byte so, sf, sa;
#endif

	{
	if
#ifdef STALE				/* it loaded the word before it broke */
	:: me == 0 -> atomic { name = me; at = me; goal = 1; i = 1; goto scan }
#endif
	:: me >= MEMBERS ->
end_join:	atomic {
			SOME_FREE && NAME_IS_FREE -> name = NAME; who[name] = me;
			joined = 1; at = N; n = 0;
			do
			:: n < N ->
				if
				:: FREE(n) && (at == N || (flag[at] & SHRUNK) && !(flag[n] & SHRUNK)) ->
					at = n
				:: else
				fi;
				n++
			:: else -> break
			od;
			n = 0; own[at] = name + 1; was = flag[at]; flag[at] = flag[at] | JOINING;
			CHANGED(at); LOOK_AT(at) };
#ifdef JOIN_LATE
		atomic { count_up() };
#else
		atomic { count_up() };
		wake_word();
#endif
		atomic {
			if
			:: EXACT(at) -> flag[at] = 0; CHANGED(at); FORGET(at)
			:: else -> FORGET(at); goto out
			fi }
	:: else -> atomic { name = me; at = me }
	fi;
call:
end_broken:	atomic { round < ROUNDS && !broken -> PUT(calm, me); goal = phase + 1 };
arrive:		atomic {
			if
			:: own[at] == name + 1 ->
				arrived[at] = goal; CHANGED(at); KEEP_LOOK(at);
				waits[me] = goal; PUT(fresh, me)
			:: else -> goto out
			fi };
look:		atomic { wp = phase; we = epoch; wb = broken; i = 1; lives = 0; p = 0; part = 0;
			if
			:: wp >= goal -> goto learnt
			:: wp < goal && (wb || !IS_AS_I_LEFT_IT(at)) -> bad = 1; goto withdraw
			:: else
			fi };
scan:		do
		:: atomic { i < N -> p = (at + i) % N;
			if
			:: own[p] == 0 && (flag[p] & LOST) ->
#ifdef NO_BREAK_AGAIN
				i = 1; goto missing
#else
				goto break_again
#endif
			:: (own[p] == 0 && flag[p] == 0) || (own[p] && arrived[p] != goal) ->
				i = 1; p = 0;
				if
				:: heard -> part = 1; break	/* looks at every life */
				:: else -> goto missing
				fi
			:: else -> i++; p = 0
			fi }
		:: atomic { i == N -> i = 1; break }
		od;
		do
		:: atomic { i < N -> p = (at + i) % N; i++;
			if
			:: own[p] && GONE(who[own[p] - 1]) ->
				t = own[p] - 1; w = who[t]; goto dropping
			:: else -> p = 0
			fi }
		:: atomic { i == N -> i = 0;
			if
			:: part -> part = 0; i = 1; goto missing
			:: else -> break
			fi }
		od;
#ifdef SLEPT_FIRST
		t = (slept >= goal);
#endif
complete:	atomic {
			if
			:: SAME -> d_step { check_complete() }; phase++; leaders++;
				assert(leaders == 1)
			:: else -> t = 0; goto look
			fi };
#ifndef NO_WAKE
#ifdef SLEPT_FIRST
		wake_sleepers(t);
		t = 0;
#else
		wake_sleepers(slept >= goal);
#endif
#endif
		goto passed;
break_again:	atomic {
			if
			:: SAME -> break_it()
			:: else
			fi };
		wake_word();
		goto look;
dropping:	drop(p);
		goto look;
learnt:
#ifndef NO_PASS
		wake_sleepers(slept >= goal);
#endif
		goto passed;
missing:	if
		:: atomic { giveups < GIVEUPS -> giveups++; i = 0; goto withdraw }
		:: skip
		fi;
say:		tell();
#ifndef SAYS_NOTHING
		atomic {
			if
			:: slept < goal -> slept = goal
			:: else
			fi };
#endif
arm:		do
		:: atomic { i < N -> p = (at + i) % N; i++;
			if
			:: own[p] == 0 && (flag[p] & LOST) ->
#ifdef NO_BREAK_AGAIN
				p = 0
#else
				goto break_again
#endif
			:: own[p] == 0 && !(flag[p] & LOST) -> p = 0
			:: own[p] && GONE(who[own[p] - 1]) ->
				t = own[p] - 1; w = who[t]; goto dropping
			:: own[p] && !GONE(who[own[p] - 1]) ->
#ifdef NO_CHAIN
				if
				:: arrived[p] != goal -> lives = lives | (1 << who[own[p] - 1])
				:: else
				fi;
#else
				lives = lives | (1 << who[own[p] - 1]);
				if
				:: arrived[p] == goal -> i = N
				:: else
				fi;
#endif
				p = 0
			fi }
		:: atomic { i == N -> break }
		od;
sleep:		atomic {
			i = 0;
			if
			:: !SAME || (lives & (dead | over)) || HAS(over, me) -> goto look
			:: else -> armed[me] = lives; PUT(asleep, me)
			fi };
end_asleep:	atomic { !HAS(asleep, me) -> armed[me] = 0 };
told:		atomic {
#ifndef NO_TELL
			heard = lives & dead;
#endif
			if
			:: HAS(over, me) -> waits[me] = 0; goto out
			:: else -> goto look
			fi };
withdraw:
#ifdef EPOCH_FIRST
		atomic {
			if
			:: phase >= goal -> goto passed
			:: else -> epoch++
			fi };
		atomic { arrived[at] = 0; CHANGED(at); waits[me] = 0 };
#else
		atomic {
			if
			:: IS_AS_I_LEFT_IT(at) -> arrived[at] = 0; CHANGED(at); FORGET(at)
			:: else ->
				FORGET(at);
				if
				:: own[at] != name + 1 -> waits[me] = 0; goto out
				:: else
				fi
			fi };
		atomic {
			if
			:: phase >= goal -> bad = 0; goto learnt
			:: phase < goal && broken -> waits[me] = 0; bad = 1
			:: else -> waits[me] = 0;
#ifndef NO_EPOCH
				epoch++
#endif
			fi };
#endif
#ifndef WITHDRAW_IN_SILENCE
		wake_word();
#endif
		tell();
		atomic {
			assert(!bad || !HAS(calm, me));
			OUT(calm, me); tries = tries + bad; bad = 0; goal = 0;
			if
			:: joined && round == 0 -> goto leave
			:: tries == TRIES || !(joined && round == 0) -> goto out
			:: tries < TRIES && !(joined && round == 0) -> goto call
			fi };
leave:		atomic {
			if
			:: own[at] == name + 1 -> own[at] = 0; arrived[at] = 0; flag[at] = was; CHANGED(at)
			:: else -> goto out
			fi };
		if
		:: was ->
#ifndef LEAVE_IN_SILENCE
			atomic { count_up() };
			wake_word()
#endif
		:: else
		fi;
		goto out;
passed:		tell();
		atomic { waits[me] = 0; OUT(calm, me); FORGET(at); goal = 0; round++; wp = 0; we = 0; wb = 0;
			if
			:: round < ROUNDS -> goto call
			:: else
			fi };
out:		tell();
		PUT(ended, me)
	} unless {
		atomic { HAS(kill, me) && !HAS(ended, me) ->
			if
			:: HAS(over, me) -> OUT(asleep, me); goto hung
			:: else -> PUT(dead, me)
			fi; OUT(asleep, me); armed[me] = 0; i = 0; n = 0; t = 0; w = 0; p = 0;
			lives = 0; wp = 0; we = 0; wb = 0; bad = 0; goal = 0; tries = 0; round = 0;
			heard = 0; part = 0;
			do
			:: i < N -> FORGET(i); i++
			:: else -> i = 0; break
			od };
		/* the kernel wakes one of those who are armed on it */
		atomic {
			if
			:: HAS(asleep, 0) && HAS(armed[0], me) -> OUT(asleep, 0)
			:: HAS(asleep, 1) && HAS(armed[1], me) -> OUT(asleep, 1)
#if P > 2
			:: HAS(asleep, 2) && HAS(armed[2], me) -> OUT(asleep, 2)
#endif
#if P > 3
			:: HAS(asleep, 3) && HAS(armed[3], me) -> OUT(asleep, 3)
#endif
			:: else
			fi };
hung:		skip
	}
}

#if RESETS
proctype Reset(byte me)
{
	byte wp, we, rp, re, p, i, t, w, n;
	bit wb, rb;
#ifdef NO_SEQUENCE
	byte so, sf, sa;
#endif

end_calm:	atomic { broken -> rp = phase; re = epoch; rb = broken; i = 0 };
mend:	do
	:: atomic { p < N ->
#ifdef KEEPS_ARRIVALS
		if
		:: own[p] && !GONE(who[own[p] - 1]) -> p++
#else
		if
		:: own[p] && !GONE(who[own[p] - 1]) && arrived[p] == 0 -> p++
		:: own[p] && !GONE(who[own[p] - 1]) && arrived[p] -> LOOK_AT(p); goto arrival
#endif
		:: own[p] && GONE(who[own[p] - 1]) -> t = own[p] - 1; w = who[t]; LOOK_AT(p); goto evict
		:: own[p] == 0 && (flag[p] & LOST) -> LOOK_AT(p); goto clear
		:: own[p] == 0 && !(flag[p] & LOST) -> p++
		fi }
	:: atomic { p == N -> p = 0; goto finish }
	od;
arrival:	atomic {
		if
		:: broken
		:: !broken -> FORGET(p); p++; goto mend
		fi };
	atomic {
		if
		:: EXACT(p) -> arrived[p] = 0; CHANGED(p); FORGET(p); p++
		:: else -> FORGET(p)
		fi;
		goto mend };
clear:	atomic {
		if
		:: EXACT(p) -> flag[p] = 0; CHANGED(p); FORGET(p); p++
		:: else -> FORGET(p)
		fi;
		goto mend };
evict:	atomic {
		if
		:: EXACT(p) -> own[p] = 0; flag[p] = 0; arrived[p] = 0; CHANGED(p)
		:: else
		fi;
		FORGET(p); t = 0; w = 0 };
	wake_word();
	goto mend;
finish:	atomic {
		if
		:: rp == phase && re == epoch && rb == broken ->
			broken = 0;
#ifndef SAME_EPOCH
			epoch++
#endif
		:: else
		fi };
#ifndef SAME_EPOCH
	atomic { count_up() };
#endif
	wake_word()
}
#endif

#if DEATHS + EXPIRIES
/* A lease's expiry passes: all who sleep until then wake, and its own user, who goes on, or hangs. */
inline expire(x)
{
	if
	:: PUT(kill, x)
	:: skip
	fi;
	PUT(over, x); OUT(asleep, x); n = 0;
#ifndef NO_EXPIRY
	do
	:: n < P ->
		if
		:: HAS(armed[n], x) -> OUT(asleep, n)
		:: else
		fi;
		n++
	:: else -> n = 0; break
	od
#endif
}

proctype Killer()
{
	byte i, n;

	do
	:: atomic { i < P && deaths < DEATHS -> PUT(kill, i); deaths++; i++ }
	:: atomic { i < P && expiries < EXPIRIES -> expiries++; expire(i); i++ }
	:: atomic { i < P -> i++ }
	:: atomic { i == P || deaths + expiries == DEATHS + EXPIRIES -> i = 0; break }
	od
}
#endif

/* Nothing moves any more. */
proctype Monitor()
{
	byte x, p;
	bit wanted;

	timeout;
	d_step {
		p = 0;
		do
		:: p < N ->
			if
			:: own[p] == 0 -> wanted = wanted || flag[p] == 0
			:: own[p] && (flag[p] & JOINING) ->
				wanted = wanted || (GONE(who[own[p] - 1]) && !(flag[p] & SHRUNK))
			:: own[p] && !(flag[p] & JOINING) ->
				wanted = wanted || (HAS(ended, who[own[p] - 1]) && arrived[p] != phase + 1)
			:: else
			fi;
			p++
		:: else -> break
		od;
		x = 0;
		do
		:: x < P ->
			if
			:: HAS(asleep, x) ->
				assert(wanted && !broken && waits[x] == phase + 1); p = 0;
				do
				:: p < N ->
					assert(!(flag[p] & LOST));
					if
					:: own[p] && !(flag[p] & JOINING) ->
						assert(!GONE(who[own[p] - 1]))
					:: else
					fi;
					p++
				:: else -> break
				od
			:: else
			fi;
			x++
		:: else -> break
		od
	}
}

init
{
	byte i;

	atomic {
		do
		:: i < P -> who[i] = i; run Party(i); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < MEMBERS -> own[i] = i + 1; i++
		:: else -> break
		od;
#ifdef STALE				/* the last place is of one that was lost */
		broken = 1; flag[N - 1] = LOST; arrived[0] = 1; waits[0] = 1; ref[0] = 1;
#endif
#if RESETS
		i = 0;
		do
		:: i < RESETS -> run Reset(P + i); i++
		:: else -> break
		od;
#endif
#if DEATHS + EXPIRIES
		run Killer();
#endif
		run Monitor()
	}
}
