/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry of named locks: exclusive, shared, both intentions, and permits, with death and expiry at any
 * step, under store buffers.
 *
 * Abstracted: rwlock.pml has what an entry has in common with a reader-writer lock: how one sleeps on the
 * word or on the departures of a lease, and damage. Here who is blocked goes on once it need not
 * be; only the sleep of who wants a permit, on the entry's own departures, is as in the code.
 * Who lets the word go wakes those who sleep on it (rwlock.pml). Each lease has one owner and is used in
 * OPS calls, in any of its modes. A lost lease is latched as it is lost; who meets it, reaps.
 * x86-TSO: as in rwlock.pml.
 *
 * Labels (docs/protocol/modes.md): look 1; publish 2; enter 3; granted 4; backout 5; claim 6; scan 7;
 * change 8 (the CAS that lets the word go); permit 9; asleep 10; leave 11.
 *
 * Shown: G1 nobody is granted beside what excludes it, G6 no permit twice (assertion at the grant); G4 who
 * is lost is granted nothing (assertion); G2, G8 nobody waits for ever behind the lost, or for a permit
 * that is free: invalid end state.
 *
 * Masks of modes: 1 exclusive, 2 shared, 4 intention to read, 8 to write, 16 permit.
 *
 * config: -DONE=2 -DTWO=8 -DTHREE=15   a reader, one with intentions, and anybody
 * ci: -DONE=8 -DTWO=2 -DTHREE=5 -DDEATHS=1
 * config: -DPROCS=2 -DONE=15 -DTWO=15 -DEXPIRIES=1
 * ci: -DPROCS=2 -DONE=15 -DTWO=15 -DOPS=2 -DEXPIRIES=1
 * config: -DPROCS=2 -DONE=15 -DTWO=15 -DOPS=2 -DDEATHS=1
 * config: -DONE=16 -DTWO=16 -DTHREE=16 -DDEATHS=1
 * ci: -DONE=16 -DTWO=16 -DTHREE=16 -DEXPIRIES=1 -DLIMIT=2
 * ci: -DONE=2 -DTWO=8 -DTHREE=15 -DEXPIRIES=1
 * ci: -DSTART_INTENTS -DONE=2 -DTWO=8 -DTHREE=2 -DEXPIRIES=1
 * ci: -DONE=10 -DTWO=10 -DTHREE=10 -DEXPIRIES=1
 * quick: -DPROCS=2 -DONE=15 -DTWO=15 -DDEATHS=1
 * ci: -DONE=2 -DTWO=8 -DTHREE=10 -DEXPIRIES=1
 * quick: -DONE=16 -DTWO=16 -DTHREE=16
 *
 * must-fail: -DNO_FENCE -DPROCS=2 -DONE=2 -DTWO=1   enters without a fence
 * must-fail: -DNO_SECOND_LOOK -DPROCS=2 -DONE=2 -DTWO=8   the group is not looked at again
 * must-fail: -DNO_AWAIT -DPROCS=2 -DONE=2 -DTWO=8   the group is changed beside the other one
 * must-fail: -DNO_AWAIT_READS -DPROCS=2 -DONE=4 -DTWO=1   intentions to read are not awaited
 * must-fail: -DEARLY_GROUP -DONE=2 -DTWO=8 -DTHREE=8 -DDEATHS=1   the group is changed with the claim
 * must-fail: -DOWN_STEP -DSTART_INTENTS -DONE=2 -DTWO=8 -DTHREE=2 -DEXPIRIES=1   the group is changed by a step of its own
 * must-fail: -DSTATE_FIRST -DPROCS=2 -DONE=2 -DTWO=8 -DEXPIRIES=1   own state before the word is let go
 * must-fail: -DPASSES_ALL -DPROCS=2 -DONE=4 -DTWO=1   an intention to read passes who wants to write
 * must-fail: -DLATE_WANT -DPROCS=2 -DONE=4 -DTWO=1   what is wanted is said after the claim
 * must-fail: -DNO_BUMP -DPROCS=2 -DONE=16 -DTWO=16   who gives a permit back tells nobody
 * must-fail: -DNO_BACK_FENCE -DPROCS=2 -DONE=16 -DTWO=16   nor has a fence before it looks for somebody
 * must-fail: -DNO_LIVES -DPROCS=2 -DONE=16 -DTWO=16 -DDEATHS=1   not armed on the lives of those who have them
 * must-fail: -DNO_RESCAN -DPROCS=2 -DONE=16 -DTWO=16 -DDEATHS=1   nor a look once armed
 * must-fail: -DEARLY_FREE -DPROCS=2 -DONE=16 -DTWO=16   the word is let go before the permit's record
 */
#ifndef PROCS
#define PROCS 3
#endif
#ifndef ONE
#define ONE 0
#endif
#ifndef TWO
#define TWO 0
#endif
#ifndef THREE
#define THREE 0
#endif
#ifndef OPS
#define OPS 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef EXPIRIES
#define EXPIRIES 0
#endif
#ifndef LIMIT
#define LIMIT 1				/* permits */
#endif
#define MAY(p) ((p) == 1 -> ONE : ((p) == 2 -> TWO : THREE))

#if PROCS > 2
#define THIRD(x) x
#define EACH(a) (a(1) || a(2) || a(3))
#else
#define THIRD(x)
#define EACH(a) (a(1) || a(2))
#endif

/* What is wanted; a record says that, or HELD + that, or PERMIT + which. */
#define X 1
#define S 2
#define IS 3
#define IX 4
#define P 5
#define HELD 8
#define PERMIT 16

#define OWNER(v) ((v) & 3)
#define INTENTS 4
#define GROUP(m) ((m) == IX -> INTENTS : 0)
#define FREED(v) ((v) & ~3)
#define NEXT(v) (((v) & 7) | ((((v) >> 3) + 1) << 3))	/* token + 1 */

#define EXCLUDES(a, b) ((a) && (b) && ((a) == X || (b) == X || ((a) == S && (b) == IX) || \
	((a) == IX && (b) == S) || ((a) >= PERMIT && (a) == (b))))

short w;
byte rec[PROCS + 1], sb[PROCS + 1];	/* hold records; late stores to them, + 1 */
bit lost[PROCS + 1], dead[PROCS + 1], kill[PROCS + 1];
byte holds[PROCS + 1];			/* ghost: what each may believe to hold */
byte dep;				/* departures of the entry */
bit asleep[PROCS + 1], woken[PROCS + 1];
byte armed[PROCS + 1];			/* on whose lives, as bits */
byte deaths, expiries;

inline drain(i)
{
	if
	:: sb[i] -> rec[i] = sb[i] - 1; sb[i] = 0
	:: else
	fi
}

inline store(v)
{
	d_step { drain(me); sb[me] = (v) + 1 }
}

/* Those who wait for a permit, on the departures or, if b is not 0, on the life of b. */
inline wake(b)
{
	d_step {
		woken[1] = woken[1] || (asleep[1] && (!(b) || (armed[1] >> (b)) & 1));
		woken[2] = woken[2] || (asleep[2] && (!(b) || (armed[2] >> (b)) & 1));
		THIRD(woken[3] = woken[3] || (asleep[3] && (!(b) || (armed[3] >> (b)) & 1)))
	}
}

/* The owner whom the word names in r is lost. */
inline reap()
{
	d_step {
		if
		:: w == r -> w = FREED(r)
		:: else
		fi
	};
	dep++;
	wake(0)
}

#ifdef NO_AWAIT_READS
#define READS(v) 0
#else
#define READS(v) ((v) == HELD + IS)
#endif
#define IN_WAY(v) (m == X -> ((v) == HELD + S || READS(v) || (v) == HELD + IX) : \
	(m == S -> (v) == HELD + IX : (v) == HELD + S))
#define CLASH(q) (q != me && EXCLUDES(h, holds[q]))

inline grant(v)
{
	h = v;
	assert(!lost[me]);
	assert(!EACH(CLASH));
	holds[me] = h;
	h = 0
}

/* Whether an intention to read passes the owner o. */
inline look_at_owner()
{
	b = 0;
	if
	:: m == IS && o ->
		atomic {
			h = rec[o];
#ifdef PASSES_ALL
			b = (h != HELD + X);
#else
			b = (h == S || h == IX || h == HELD + S || h == HELD + IX);
#endif
			h = 0
		}
	:: else
	fi
}

#define HAS(q, i) (rec[q] == PERMIT + (i) && !lost[q])

#define TAKER(q) (rec[q] >= PERMIT && !lost[q] -> 1 << (q) : 0)
#if PROCS > 2
#define TAKERS (TAKER(1) | TAKER(2) | TAKER(3))
#define GONE ((lost[1] << 1) | (lost[2] << 2) | (lost[3] << 3))
#define TAKEN(i) (HAS(1, i) || HAS(2, i) || HAS(3, i))
#else
#define TAKERS (TAKER(1) | TAKER(2))
#define GONE ((lost[1] << 1) | (lost[2] << 2))
#define TAKEN(i) (HAS(1, i) || HAS(2, i))
#endif
#define GONE_WITH_PERMIT(q) (lost[q] && rec[q] >= PERMIT)

proctype Lease(byte me)
{
	short r;
	byte m, o, p, h, n, d;
	bit b;

	{
	do
	:: n < OPS && !lost[me] ->
		n++;
		if
		:: MAY(me) & 1 -> m = X
		:: MAY(me) & 2 -> m = S
		:: MAY(me) & 4 -> m = IS
		:: MAY(me) & 8 -> m = IX
		:: MAY(me) & 16 -> m = P
		fi;
#ifndef LATE_WANT
		store(m);
#else
		store(IX);
#endif
look:		atomic { r = w; o = OWNER(r) };
		look_at_owner();
		if
		:: o && !b -> goto blocked
		:: else
		fi;
		if
		:: m == X || m == P || (m != IS && (r & INTENTS) != GROUP(m)) -> b = 0; goto claim
		:: else
		fi;
publish:	store(HELD + m);
#ifdef NO_FENCE
enter:		atomic { r = w; o = OWNER(r) };
#else
enter:		atomic { drain(me); r = w; o = OWNER(r) };
#endif
		look_at_owner();
		if
		:: o && !b -> goto backout
#ifndef NO_SECOND_LOOK
		:: !(o && !b) && m != IS && (r & INTENTS) != GROUP(m) -> goto backout
		:: !(o && !b) && !(m != IS && (r & INTENTS) != GROUP(m))
#else
		:: !(o && !b)
#endif
		fi;
granted:	atomic {
			b = 0; o = 0; r = 0;
			if
			:: lost[me] -> goto leave
			:: else -> grant(m)
			fi
		};
		goto leave;
backout:	atomic { b = 0; o = 0; r = 0 };
		store(m);
		goto look;

blocked:	if
		:: atomic { lost[me] -> r = 0; o = 0; goto leave }
		:: lost[o] -> reap(); r = 0; o = 0; goto look
		:: atomic { w != r -> r = 0; o = 0; goto look }
		:: m == IS && (rec[o] == S || rec[o] == IX) -> r = 0; o = 0; goto look
		fi;

claim:		atomic {
			drain(me);
			if
			:: w == r ->
				w = NEXT(r) | me; r = w
#ifdef EARLY_GROUP
				if
				:: m == S || m == IX -> w = (w & ~INTENTS) | GROUP(m); r = w
				:: else
				fi
#endif
			:: else -> r = 0; goto look
			fi
		};
#ifdef LATE_WANT
		store(m);
#endif
		if
		:: m == P -> goto permit
		:: else
		fi;
		p = 1;
#ifdef NO_AWAIT
		p = (m == X -> 1 : PROCS + 1);
#endif
scan:		do
		:: p > PROCS -> p = 0; break
		:: atomic { p <= PROCS && (p == me || !IN_WAY(rec[p]) || lost[p]) -> p++ }
		:: atomic { lost[me] -> p = 0; goto giveup }
		od;
		if
		:: m == X ->
			atomic { drain(me); sb[me] = HELD + X + 1; drain(me) };
			atomic { if :: lost[me] -> goto giveup :: else -> grant(X) fi };
			atomic {
				holds[me] = 0; drain(me);
				if
				:: w == r -> w = FREED(r)
				:: else
				fi;
				r = 0
			};
			goto leave
		:: else
		fi;
		store(HELD + m);
#ifdef STATE_FIRST
		if
		:: lost[me] -> goto giveup
		:: else
		fi;
#endif
#ifdef OWN_STEP
		atomic { drain(me); w = (w & ~INTENTS) | GROUP(m); r = (r & ~INTENTS) | GROUP(m) };
#endif
change:		atomic {
			drain(me);
			if
			:: w == r -> w = (FREED(r) & ~INTENTS) | GROUP(m)
			:: else -> r = 0; goto leave
			fi;
			r = 0
		};
		atomic {
#ifndef STATE_FIRST
			if
			:: lost[me] -> goto leave
			:: else -> grant(m)
			fi
#else
			grant(m)
#endif
		};
		goto leave;

permit:		d = dep;
		b = 0;			/* of two: whether each is taken */
		h = 0;
		p = 1;
		do
		:: p > PROCS -> p = 0; break
		:: atomic { p <= PROCS ->
			if
			:: p != me && HAS(p, 0) -> h = h | 1
			:: p != me && HAS(p, 1) -> h = h | 2
			:: else
			fi;
			p++ }
		od;
		if
		:: h == 0 || h == 2 -> h = 0; o = 0
		:: h == 1 && LIMIT > 1 -> h = 0; o = 1
		:: else ->
			h = 0;
			/* 10: the lost were judged; those who have permits are armed on, */
			atomic {
#ifndef NO_LIVES
				o = TAKERS;
#endif
				if
				:: EACH(GONE_WITH_PERMIT) -> d = 0; o = 0; goto permit
				:: else
				fi
			};
#ifndef NO_RESCAN
			if		/* and it is looked again */
			:: atomic { TAKEN(0) && (LIMIT == 1 || TAKEN(1)) }
			:: atomic { else -> d = 0; o = 0; goto permit }
			fi;
#endif
			if
			:: atomic { dep == d && !(o & GONE) ->
				asleep[me] = 1; woken[me] = 0; armed[me] = o;
				d = 0; o = 0 }
			:: atomic { else -> d = 0; o = 0; goto permit }
			fi;
			if
			:: atomic { woken[me] -> asleep[me] = 0; woken[me] = 0; armed[me] = 0 }
			:: atomic { lost[me] -> asleep[me] = 0; woken[me] = 0; armed[me] = 0; goto giveup }
			fi;
			goto permit
		fi;
		d = 0;
#ifdef EARLY_FREE
		atomic { drain(me); if :: w == r -> w = FREED(r) :: else fi; r = w };
#endif
		store(PERMIT + o);
change_p:	atomic {
			drain(me);
#ifndef EARLY_FREE
			if
			:: w == r -> w = FREED(r)
			:: else -> r = 0; o = 0; goto leave
			fi;
#endif
			r = 0
		};
		atomic {
			if
			:: lost[me] -> o = 0; goto leave
			:: else -> grant(PERMIT + o)
			fi;
			o = 0
		};
		goto leave;

giveup:		atomic {
			drain(me);
			if
			:: w == r -> w = FREED(r)
			:: else
			fi;
			r = 0
		};

leave:		holds[me] = 0;		/* 11 */
		b = (rec[me] >= PERMIT || sb[me] > PERMIT);
		store(0);
		if
		:: b ->
			b = 0;
#ifdef NO_BACK_FENCE
			r = w;
#else
			atomic { drain(me); r = w };
#endif
#ifndef NO_BUMP
			if
			:: OWNER(r) -> r = 0; dep++; wake(0)
			:: else -> r = 0
			fi
#else
			r = 0
#endif
		:: else
		fi;
		atomic { m = 0; o = 0 }
	:: else -> break
	od
	} unless {
		d_step {
			kill[me] ->
			asleep[me] = 0; woken[me] = 0; armed[me] = 0; holds[me] = 0;
			drain(me);
			r = 0; m = 0; o = 0; p = 0; h = 0; n = 0; d = 0; b = 0;
			lost[me] = 1; dead[me] = 1
		};
		wake(me)
	}
}

proctype Buffers()
{
end:	do
	:: d_step { sb[1] -> drain(1) }
	:: d_step { sb[2] -> drain(2) }
#if PROCS > 2
	:: d_step { sb[3] -> drain(3) }
#endif
	od
}

#if DEATHS
proctype Killer()
{
	do
	:: atomic {
		deaths < DEATHS -> deaths++;
		if
		:: !kill[1] -> kill[1] = 1
		:: !kill[2] -> kill[2] = 1
#if PROCS > 2
		:: !kill[3] -> kill[3] = 1
#endif
		fi
	   }
	:: break
	od
}
#endif

#if EXPIRIES
#define EXPIRE(p) d_step { !lost[p] -> lost[p] = 1; holds[p] = 0 }
proctype Clock()
{
	if
	:: EXPIRE(1); wake(1)
	:: EXPIRE(2); wake(2)
#if PROCS > 2
	:: EXPIRE(3); wake(3)
#endif
	:: skip
	fi
}
#endif

init {
	atomic {
#ifdef START_INTENTS
		w = INTENTS;
#endif
		run Lease(1); run Lease(2); THIRD(run Lease(3));
		run Buffers();
#if DEATHS
		run Killer();
#endif
#if EXPIRIES
		run Clock();
#endif
	}
}
