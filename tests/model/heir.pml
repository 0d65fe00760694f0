/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reservation of a free mutex for a waiter that was passed over (src/mutex_wait.c): `heir`.
 * tests/model/mutex.pml has everything else, without it.
 *
 * Abstracted: all waiters are heads; every owner releases by an atomic operation; one lease to an
 * owner; time: that somebody was passed over for long enough is a choice at each claim, and a
 * reservation never runs out, so that what follows does not hang on its running out.
 * Kernel: as in mutex.pml.
 *
 * Labels (docs/protocol.md, Mutex): look 1 load the word, then heir; take 2 CAS from free, then
 * what was seen of the wait goes, heir last; sleep 4 mark, claim heir, raise `waiters`, sleep on
 * {word, life of its owner or heir}; leave 8 give up. fast: the call that never waits, which looks
 * at `waiters` alone.
 *
 * FIRST: how often the first one takes the lock; DIES, QUITS: who alone may be killed, or give up.
 *
 * Shown: G1 exclusion; G2/G8 nobody sleeps for ever on a lock that is left to one that died, gave
 * up, or has had it: invalid end state.
 *
 * ci: -DPROCS=3 -DDEATHS=1 -DGIVEUPS=2
 * ci: -DPROCS=3 -DDEATHS=1 -DGIVEUPS=1 -DFIRST=2 -DDIES=3 -DQUITS=3   one has the lock twice
 * config: -DPROCS=2 -DDEATHS=1 -DGIVEUPS=2 -DOPS=3
 * quick: -DPROCS=3 -DDEATHS=1
 * quick: -DPROCS=2 -DDEATHS=1 -DGIVEUPS=1 -DOPS=2
 *
 * must-fail: -DNO_LIFE -DPROCS=3 -DDEATHS=1   sleeps on the word alone while it is left to an heir
 * must-fail: -DNO_TELL -DPROCS=3 -DDEATHS=0 -DGIVEUPS=1   an heir that gives up wakes nobody
 * must-fail: -DNO_SECOND_LOOK -DPROCS=3 -DDEATHS=0 -DGIVEUPS=1   heir is not looked at after the mark
 * must-fail: -DNO_TAKE -DPROCS=3 -DDEATHS=1 -DGIVEUPS=1 -DOPS=2   becomes the heir of a free lock, and sleeps
 * must-fail: -DNO_CHANGE -DPROCS=3 -DDEATHS=0 -DGIVEUPS=1   gives up, wakes, leaves the word as it was
 * must-fail: -DUNMARK -DPROCS=3 -DDEATHS=1 -DGIVEUPS=1 -DFIRST=2 -DDIES=3 -DQUITS=3   gives up and takes MARK off
 * must-fail: -DNO_CLEAR -DNO_CHECK -DPROCS=3 -DDEATHS=0 -DOPS=2   and who was granted it stays heir
 * must-fail: -DNO_MARK -DPROCS=3 -DDEATHS=0   sleeps before an heir without the waiters mark
 */
#ifndef OPS
#define OPS 1
#endif
#ifndef FIRST
#define FIRST OPS
#endif
#ifndef GIVEUPS
#define GIVEUPS 0
#endif
#ifdef DIES
#define MAY_DIE(p) ((p) == DIES)
#else
#define MAY_DIE(p) 1
#endif
#ifdef QUITS
#define MAY_QUIT(p) ((p) == QUITS)
#else
#define MAY_QUIT(p) 1
#endif

#define OWNER(v) ((v) & 7)
#define MARK 8
#define TOKEN(v) ((v) >> 4)
#define WORD 1			/* futex words, as bits of q[]: the lock word, */
#define LIVE(p) (1 << (p))	/* the liveness of p */

short w;			/* owner, MARK, token */
byte waiters, heir;
bit waits[4];			/* seen by all: what the lease waits for is this lock */
bit dead[4];			/* the liveness word is marked */
bit kill[4];			/* SIGKILL is on its way */
byte q[4];			/* the futex words each one is queued on */
bit woken[4];
byte holder;			/* ghost: who may believe that it holds */
byte deaths, giveups;

inline drop(i, b)
{
	if
	:: q[i] & (b) -> q[i] = q[i] & ~(b); woken[i] = 1
	:: else
	fi
}

inline wake_all(b)
{
	d_step { drop(1, b); drop(2, b); drop(3, b) }
}

inline wake_one(b)
{
	atomic {
		if
		:: q[1] & (b) -> drop(1, b)
		:: q[2] & (b) -> drop(2, b)
		:: q[3] & (b) -> drop(3, b)
		:: else
		fi
	}
}

/* dead: everybody who sleeps on its liveness first, then the object by CAS from the exact value. */
inline reap(x)
{
	wake_all(LIVE(x));
	r = w;
	if
	:: OWNER(r) == x ->
		atomic {
			if
			:: w == r -> w = TOKEN(r) << 4
			:: else -> r = 0
			fi
		}
		if
		:: r & MARK -> wake_all(WORD)
		:: else
		fi
	:: else
	fi;
	r = 0
}

proctype Lease(byte me)
{
	short r;
	byte o, n;
	bit quit, fast;

	{
	do
	:: n < (me == 1 -> FIRST : OPS) ->
		atomic { n++; fast = 1 }
look:		atomic { r = w; o = OWNER(r) }
		if
		:: fast ->
			if
			:: atomic { o == 0 && TOKEN(r) + 1 > waiters -> fast = 0; o = 0 } goto take
			:: atomic { else -> fast = 0 }
			fi
		:: else
		fi;
		if
		:: o == 0 ->
			o = heir;
			if
			:: o == 0 || o == me -> o = 0
			:: else ->
				if
#ifdef NO_CHECK
				:: true
#else
				:: waits[o] && !dead[o]
				:: else ->
					atomic {
						if
						:: heir == o -> heir = 0
						:: else
						fi;
						o = 0
					}
#endif
				fi
			fi
		:: o && dead[o] -> reap(o); goto look
		:: else
		fi;
		if
		:: o == 0 ->
take:			atomic {
				if
				:: w == r ->
					assert(holder == 0);
					holder = me;
					w = (r & MARK) | me | ((TOKEN(r) + 1) << 4); r = 0
				:: else -> r = 0; goto look
				fi
			}
			if
			:: waits[me] ->
				waits[me] = 0;
#ifndef NO_CLEAR
				atomic {
					if
					:: heir == me -> heir = 0
					:: else
					fi
				}
#endif
			:: else
			fi;
			atomic {
				assert(OWNER(w) == me);
				holder = 0; r = w & MARK; w = TOKEN(w) << 4
			}
			if
			:: r -> r = 0; wake_all(WORD)
			:: else
			fi
		:: else ->
			waits[me] = 1;
			if
			:: !(r & MARK) ->
				atomic {
					if
#ifdef NO_MARK
					:: OWNER(r) == 0
#endif
					:: w == r -> r = r | MARK; w = r
					:: else -> r = 0; o = 0; goto look
					fi
				}
			:: else
			fi;
#ifndef NO_SECOND_LOOK
			if
			:: OWNER(r) == 0 && heir != o -> r = 0; o = 0; goto look
			:: else
			fi;
#endif
			if
			:: atomic { heir == 0 -> heir = me }	/* passed over for long */
			:: true
			fi;
			if
#ifndef NO_TAKE
			:: heir == me && OWNER(r) == 0 -> r = 0; o = 0; goto look
			:: heir == me && OWNER(r) ->
#else
			:: heir == me ->
#endif
				d_step {
					if
					:: waiters < TOKEN(r) + 1 -> waiters = TOKEN(r) + 1
					:: else
					fi
				}
			:: heir != me
			fi;
			if
			:: atomic { w == r -> q[me] = WORD; r = 0 }
			:: atomic { else -> goto back }
			fi;
#ifdef NO_LIFE
			if
			:: atomic { OWNER(w) == 0 -> goto asleep }
			:: else
			fi;
#endif
			if
			:: atomic { !dead[o] -> q[me] = q[me] | LIVE(o) }
			:: atomic { dead[o] -> goto back }
			fi;
asleep:			if
			:: atomic { woken[me] -> skip }
			:: atomic { giveups < GIVEUPS && MAY_QUIT(me) -> giveups++; quit = 1 }
			fi;
back:			atomic { q[me] = 0; woken[me] = 0; r = 0 }
			if
			:: o && dead[o] -> reap(o)
			:: else
			fi;
			if
			:: atomic { !quit -> o = 0; goto look }
			:: else
			fi;
			if
			:: atomic { heir == me -> heir = 0 }
#ifndef NO_CHANGE
				r = w;
				d_step {
					if
#ifdef UNMARK
					:: OWNER(r) == 0 && w == r -> w = r & ~MARK
#else
					:: OWNER(r) == 0 && (r & MARK) && w == r -> w = r + (1 << 4)
#endif
					:: else
					fi
				}
#endif
#ifndef NO_TELL
				wake_all(WORD)
#endif
			:: atomic { heir != me -> skip }
			fi;
			waits[me] = 0;
			atomic { quit = 0; r = 0; o = 0 }
		fi
	:: break
	od
	} unless {
		d_step {
			kill[me] ->
			q[me] = 0; woken[me] = 0;
			if
			:: holder == me -> holder = 0
			:: else
			fi;
			r = 0; o = 0; n = 0; quit = 0; fast = 0
		}
		dead[me] = 1;
		wake_one(LIVE(me))
	}
}

#if DEATHS
proctype Killer()
{
	do
	:: atomic {
		deaths < DEATHS -> deaths++;
		if
		:: MAY_DIE(1) && !kill[1] -> kill[1] = 1
		:: MAY_DIE(2) && !kill[2] -> kill[2] = 1
#if PROCS > 2
		:: MAY_DIE(3) && !kill[3] -> kill[3] = 1
#endif
		fi
	   }
	:: break
	od
}
#endif

init {
	atomic {
		w = 1 << 4;
		run Lease(1); run Lease(2);
#if PROCS > 2
		run Lease(3);
#endif
#if DEATHS
		run Killer();
#endif
	}
}
