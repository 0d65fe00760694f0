/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutex: lock, unlock, wait, wake and reap, with death of holder, waiter and reaper at any step.
 *
 * Abstracted: one mutex; one lease to an owner, its slot never used again (lease.pml has that); no
 * expiry; hold records only where a wake depends on them; every holder declares the data
 * consistent; whoever reaps is a waiter.
 * Kernel: futex_waitv queues its words one after another and takes itself off when one differs; a
 * wake picks any of the sleepers, also one that is already killed; the dying leaves its queues,
 * then its liveness word is marked, then exactly one sleeper on that word is woken (two steps). An
 * idle process never helps: who ends, lives on and does nothing.
 * x86-TSO: only the plain release store can be late (sb[]); a membarrier, or an atomic operation
 * or system call of the releaser, lets it out.
 *
 * Labels (docs/protocol.md, Mutex): look 1 load the word; take 2 CAS from free; reap() 3 a dead
 * owner; mark 4 CAS the mark in, or for a PLAIN owner raise `waiters`, membarrier, look
 * again; (before it) 5 exchange oneself into last_waiter; behind 6a sleep behind the predecessor on {its
 * turn, its liveness}; head 6b sleep on {word, owner's liveness}; back 7 wake others on a dead
 * word first; leave 8 give up; unlock 9.
 *
 * Shown: G1 exclusion and G5 rising tokens (assertions at take); G12 the first grant after a lost
 * holder says so, and no other does (assertion at take); a live owner's word is never taken from
 * it (assertion at unlock); G2/G8 nobody sleeps for ever while the lock is free or its owner dead:
 * invalid end state. Without BACKSTOP the wake is prompt; with it a sleeper may also look again,
 * but only when nothing else in the whole system can move.
 *
 * config: -DPROCS=3 -DDEATHS=2 -DGIVEUPS=1
 * config: -DPROCS=3 -DDEATHS=2 -DPLAINMASK=14
 * config: -DPROCS=3 -DDEATHS=1 -DGIVEUPS=1 -DPLAINMASK=12
 * config: -DPROCS=2 -DDEATHS=1 -DGIVEUPS=1 -DPLAINMASK=6 -DOPS=3
 * config: -DPROCS=3 -DDEATHS=2 -DPLAINMASK=8 -DBACKSTOP
 * config: -DPROCS=3 -DDEATHS=1 -DPLAINMASK=14 -DNO_RECHECK   the sleep itself compares: a shortcut
 * config: -DPROCS=3 -DDEATHS=1 -DFLAT   everybody sleeps on the word: prompt too, but a herd
 * ci: -DPROCS=3 -DDEATHS=3 -DGIVEUPS=2 -DPLAINMASK=10
 * no-cycle: -DPROCS=3 -DDEATHS=1
 * no-cycle: -DPROCS=3 -DDEATHS=0 -DPLAINMASK=14
 * quick: -DPROCS=3 -DDEATHS=1
 * quick: -DPROCS=2 -DDEATHS=1 -DOPS=2 -DGIVEUPS=1 -DPLAINMASK=6
 *
 * must-fail: -DFLAT -DPROCS=3 -DDEATHS=2   the only wake of a death goes to one who dies too
 * must-fail: -DPRED -DPROCS=3 -DDEATHS=1   wake one, armed on owner and predecessor: the tail dies
 * must-fail: -DPRED -DNO_ARM -DPROCS=3 -DDEATHS=1   wake one, armed on the owner only
 * must-fail: -DNO_PRED_LIVE -DPROCS=3 -DDEATHS=1   no arming on the predecessor's liveness
 * must-fail: -DNO_MARK -DPROCS=2 -DDEATHS=0   sleeps without the waiters mark
 * must-fail: -DNO_TURN -DPROCS=3 -DDEATHS=0   unlock does not wake its successor
 * must-fail: -DNO_PASS -DPROCS=3 -DDEATHS=0 -DGIVEUPS=1   gives up without passing on
 * must-fail: -DNO_OWNER -DPROCS=2 -DDEATHS=0 -DPLAINMASK=6   sleeps on a half without the owner
 * must-fail: -DNO_TELL -DFLAT -DPROCS=3 -DDEATHS=1 -DGIVEUPS=1   told of a death, wakes no others
 * must-fail: -DNO_DIED -DPROCS=2 -DDEATHS=1   reaper leaves no sign of the damage
 * must-fail: -DNO_MEMBARRIER -DPROCS=2 -DDEATHS=0 -DPLAINMASK=6   no membarrier before the sleep
 * must-fail: -DLATE -DPROCS=2 -DDEATHS=0 -DPLAINMASK=6   raises waiters after the membarrier
 * must-fail: -DNO_TOKEN -DPROCS=2 -DDEATHS=0 -DOPS=3 -DPLAINMASK=6   sleeps without token bits
 * must-fail: -DCLEAR=1 -DPROCS=3 -DDEATHS=0 -DPLAINMASK=14   the releaser clears waiters
 * must-fail: -DCLEAR=2 -DPROCS=3 -DDEATHS=1 -DPLAINMASK=14   the next holder clears waiters
 */
#ifndef OPS
#define OPS 1
#endif
#ifndef GIVEUPS
#define GIVEUPS 0
#endif
#ifndef PLAINMASK
#define PLAINMASK 0			/* bit p: lease p has no TTL, releases by a store */
#endif
#ifndef CLEAR
#define CLEAR 0
#endif

#define OWNER(v) ((v) & 7)
#define MARK 8
#define PLAIN 16
#define DIED 32
#define TOKEN(v) ((v) >> 6)
#define WORD 1				/* futex words, as bits of q[]: the lock word, */
#define LIVE(p) (1 << (p))		/* the liveness of p, */
#define TURN(p) (1 << (PROCS + (p)))	/* the turn of p */

#ifdef NO_OWNER
#define HALF(v) ((v) & MARK)
#else
#ifdef NO_TOKEN
#define HALF(v) ((v) & 63)
#else
#define HALF(v) (v)
#endif
#endif
#if CLEAR				/* waiters as a flag: somebody has to clear it */
#define RAISE waiters = 1
#define WAITED(t) (waiters != 0)
#else					/* waiters as the highest token slept on: nobody has to */
#define RAISE d_step { if :: waiters < TOKEN(r) -> waiters = TOKEN(r) :: else fi }
#define WAITED(t) (waiters >= (t))
#endif

#if PROCS > 3
#define FOURTH(x) x
#define WORDS short
#else
#define FOURTH(x)
#define WORDS byte
#endif
#if PROCS > 2
#define THIRD(x) x
#else
#define THIRD(x)
#endif

short w;			/* the lock's word: owner, MARK, PLAIN, DIED, token */
byte waiters, last;		/* the header's other words; last = slot | turn << 3 */
byte turn[PROCS + 1];		/* of each lease: how often it left a queue */
short sb[PROCS + 1];		/* a late release store; 0: none (a stored word has a token) */
bit dead[PROCS + 1];		/* the liveness word is marked */
bit kill[PROCS + 1];		/* SIGKILL is on its way */
WORDS q[PROCS + 1];		/* the futex words each one is queued on */
bit woken[PROCS + 1];
byte holder, token;		/* ghosts: who may believe that it holds; last token granted */
bit lost;			/* ghost: a holder was lost and nobody was told since */
byte deaths, giveups;
#ifdef PRED
byte pred[PROCS + 1];
bit waiting[PROCS + 1], record[PROCS + 1];
#endif

inline drop(i, b)
{
	if
	:: q[i] & (b) -> q[i] = q[i] & ~(b); woken[i] = 1
	:: else
	fi
}

inline wake_all(b)
{
	d_step { drop(1, b); drop(2, b); THIRD(drop(3, b)); FOURTH(drop(4, b)) }
}

inline wake_one(b)
{
	atomic {
		if
		:: q[1] & (b) -> drop(1, b)
		:: q[2] & (b) -> drop(2, b)
#if PROCS > 2
		:: q[3] & (b) -> drop(3, b)
#endif
#if PROCS > 3
		:: q[4] & (b) -> drop(4, b)
#endif
		:: else
		fi
	}
}

#ifdef PRED
#define WAKE wake_one(WORD)
#else
#define WAKE wake_all(WORD)
#endif

inline drain(i)
{
	if
	:: sb[i] -> w = sb[i]; sb[i] = 0
	:: else
	fi
}

inline membarrier()
{
	d_step { drain(1); drain(2); THIRD(drain(3)); FOURTH(drain(4)) }
}

/* dead: everybody who sleeps on its liveness first, then the object by CAS from the exact value. */
inline reap(x)
{
#ifndef NO_TELL
	wake_all(LIVE(x));
#endif
	r = w;
	if
	:: OWNER(r) == x ->
		d_step {
			if
#ifdef NO_DIED
			:: w == r -> w = r & ~(7 | PLAIN)
#else
			:: w == r -> w = (r & ~(7 | PLAIN)) | DIED
#endif
			:: else
			fi
		}
	:: else ->
#ifdef PRED
		if
		:: record[x] -> WAKE
		:: else
		fi
#endif
	fi;
#ifdef PRED
	record[x] = 0;
#endif
	r = 0
}

/* Leaves the queue: whoever sleeps behind me goes on. */
inline depart()
{
	turn[me]++;
	wake_all(TURN(me))
}

proctype Lease(byte me)
{
	short r;
	byte o, pr, pt, n;
	bit queued, rmw, quit;

	{
	do
	:: n < OPS ->
		atomic {
			n++;
#ifdef PRED
			record[me] = 1
#endif
		}
look:		atomic { r = w; o = OWNER(r) }
		if
		:: o == 0 ->
#if PLAINMASK
			rmw = WAITED(TOKEN(r));
#endif
take:			atomic {
				if
				:: w == r ->
					assert(holder == 0);
					assert(TOKEN(w) + 1 > token);
					assert(lost == ((r & DIED) != 0));
					holder = me; token = TOKEN(w) + 1; lost = 0;
					w = (r & (DIED | MARK)) | me | (token << 6);
					if
#ifdef PRED
					:: queued || rmw -> w = w | MARK
#else
#if CLEAR
					:: rmw -> w = w | MARK
#endif
#endif
					:: else ->
						if
						:: ((PLAINMASK >> me) & 1) && !queued && !rmw &&
						    !(w & MARK) -> w = w | PLAIN
						:: else
						fi
					fi;
					r = w; o = 0
				:: else -> rmw = 0; r = 0; o = 0; goto look
				fi
			}
#ifdef PRED
			waiting[me] = 0;
#endif
#if CLEAR == 2
			if
			:: rmw -> waiters = 0
			:: else
			fi;
#endif
unlock:			if
			:: r & PLAIN ->
				atomic {
					assert(w == r);
					holder = 0; rmw = 0; sb[me] = TOKEN(r) << 6
				}
				if
				:: WAITED(TOKEN(r)) ->
#if CLEAR == 1
					waiters = 0;
#endif
					atomic { r = 0; drain(me) }
					WAKE
				:: !WAITED(TOKEN(r)) ->
					atomic { r = 0; drain(me) }
				fi
			:: else ->
				atomic {
					assert(OWNER(w) == me);
					holder = 0; rmw = 0; r = w & MARK; w = TOKEN(w) << 6
				}
				if
				:: r -> r = 0; WAKE
				:: else
				fi;
#if !defined(FLAT) && !defined(PRED) && !defined(NO_TURN)
				if
				:: queued -> depart()
				:: else
				fi;
#endif
				queued = 0
			fi
		:: else ->
			if
			:: dead[o] -> reap(o); goto look
			:: else
			fi;
#if !defined(FLAT) && !defined(PRED)
			/* queue, and behind the predecessor while that one has not left */
			atomic {
				if
				:: !queued ->
					queued = 1; pr = last & 7; pt = last >> 3;
					last = me | (turn[me] << 3)
				:: else
				fi
			}
			if
			:: atomic { pr && turn[pr] == pt -> q[me] = TURN(pr); r = 0; o = 0 }
				if
				:: atomic { !dead[pr] ->
#ifndef NO_PRED_LIVE
					q[me] = q[me] | LIVE(pr)
#endif
					} goto behind
				:: atomic { dead[pr] -> goto back }
				fi
			:: atomic { else -> pr = 0; pt = 0 }
			fi;
#else
			queued = 1;
#endif
mark:			if
			:: r & PLAIN ->
#ifndef LATE
				RAISE;
#endif
#ifndef NO_MEMBARRIER
				membarrier();
#endif
#ifdef LATE
				RAISE;
#endif
#ifndef NO_RECHECK
				if
				:: w == r
				:: else -> goto look
				fi
#endif
			:: !(r & (PLAIN | MARK)) ->
#ifndef NO_MARK
				atomic {
					if
					:: w == r -> w = r | MARK; r = w
					:: else -> goto look
					fi
				}
#endif
			:: (r & MARK)
			fi;
#ifdef PRED
			waiting[me] = 1;
			atomic {
				if
				:: (last & 7) != me -> pred[me] = last & 7; last = me
				:: else
				fi;
				pr = pred[me]
			}
#ifdef NO_ARM
			pr = 0;
#else
			do
			:: pr == 0 || pr == me || pr == o || waiting[pr] -> break
			:: else -> pr = pred[pr]
			od;
			if
			:: pr == me || pr == o -> pr = 0
			:: else
			fi;
#endif
#endif
head:			if
			:: atomic { HALF(w) == HALF(r) -> q[me] = WORD; r = 0 }
			:: atomic { else -> goto back }
			fi;
			if
			:: atomic { !dead[o] -> q[me] = q[me] | LIVE(o) }
			:: atomic { dead[o] -> goto back }
			fi;
#ifdef PRED
			if
			:: pr == 0
			:: atomic { pr && !dead[pr] -> q[me] = q[me] | LIVE(pr) }
			:: atomic { pr && dead[pr] -> goto back }
			fi;
#endif
behind:			if
			:: atomic { woken[me] -> skip }
			:: atomic { giveups < GIVEUPS -> giveups++; quit = 1 }
#ifdef BACKSTOP
			:: atomic { timeout -> skip }
#endif
			fi;
back:			atomic { q[me] = 0; woken[me] = 0; r = 0 }
			if
			:: o && dead[o] -> reap(o)
			:: else
			fi;
			if
			:: pr && dead[pr] -> reap(pr); pr = 0; pt = 0
			:: else
			fi;
			if
			:: atomic { !quit -> o = 0; goto look }
			:: else
			fi;
leave:
#ifndef NO_PASS
#ifdef PRED
			waiting[me] = 0;
			wake_all(LIVE(me));
			WAKE;
#else
#ifndef FLAT
			depart();
#endif
#endif
#endif
			atomic { quit = 0; queued = 0; pr = 0; pt = 0; o = 0 }
		fi;
		atomic {
			pr = 0; pt = 0;
#ifdef PRED
			record[me] = 0
#endif
		}
	:: break
	od
	} unless {
		d_step {
			kill[me] ->
			q[me] = 0; woken[me] = 0;
			if
			:: holder == me -> holder = 0; lost = 1
			:: else
			fi;
			drain(me);
			r = 0; o = 0; pr = 0; pt = 0; n = 0; queued = 0; rmw = 0; quit = 0
		}
		dead[me] = 1;
		wake_one(LIVE(me))
	}
}

#if PLAINMASK
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
#endif

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
#if PROCS > 3
		:: !kill[4] -> kill[4] = 1
#endif
		fi
	   }
	:: break
	od
}
#endif

init {
	atomic {
		w = 1 << 6; token = 1;
		run Lease(1); run Lease(2);
		THIRD(run Lease(3)); FOURTH(run Lease(4));
#if PLAINMASK
		run Buffers();
#endif
#if DEATHS
		run Killer();
#endif
	}
}
