/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reservation of a free reader-writer lock for a waiter that was passed over
 * (src/rwlock_wait.c): `heir`. tests/model/rwlock.pml has the fences, the bias and a writer's wait
 * for its readers; heir.pml is the same of the mutex.
 *
 * Abstracted: memory is sequentially consistent, and a reader that has published looks once; a
 * writer sees when no reader is left; time: that somebody has waited for a millisecond is a choice
 * wherever it is asked, and a reservation never runs out, so that what follows does not hang on its
 * running out; a lease that expires wakes whoever sleeps on it, as their time-out does.
 * Kernel: as in mutex.pml.
 *
 * Process 4 has the word at the start and lets go of it; READERS says which of 1..3 read (bits).
 * Labels (docs/protocol/rwlock.md): look 1 load the word, judge its owner or heir; mark 12 name
 * heir, then MARK; more 12 once more; sleep 12; claim 7; inside 10, or 4; free 11; resign.
 *
 * Shown: G1 no writer beside another or a reader; G2/G8 nobody sleeps for ever on a lock that is
 * left to one that died, was lost, gave up, reads, or has written: invalid end state.
 *
 * HEIR: this one sleeps behind process 4 from the start, as the heir. DIES, EXPIRES, GIVES_UP: who
 * may, at any step; of these two at a time only where config lines say so: while an heir dies that has
 * taken an heir's place, and that one gives up, who sleeps for the latter's sake is left to the end of
 * the reservation.
 *
 * config: -DPROCS=3 -DHEIR=1 -DREADERS=3 -DDIES=2
 * config: -DPROCS=2 -DREADERS=2 -DEXPIRES=1 -DGIVES_UP=2
 * ci: -DPROCS=3 -DHEIR=1 -DREADERS=0 -DDIES=1 -DGIVES_UP=2
 * ci: -DPROCS=3 -DHEIR=1 -DREADERS=1 -DGIVES_UP=2
 * ci: -DPROCS=3 -DHEIR=1 -DREADERS=3 -DEXPIRES=2
 * ci: -DPROCS=3 -DHEIR=1 -DREADERS=1 -DDIES=2 -DGIVES_UP=1
 * ci: -DPROCS=3 -DHEIR=1 -DREADERS=2 -DDIES=2
 * ci: -DPROCS=3 -DHEIR=1 -DREADERS=1 -DDIES=1 -DEXPIRES=2
 * quick: -DPROCS=3 -DHEIR=1 -DREADERS=3
 * quick: -DPROCS=2 -DREADERS=1 -DDIES=1
 *
 * must-fail: -DNO_LIFE -DPROCS=3 -DHEIR=1 -DREADERS=0 -DDIES=1   sleeps on the word alone while it is left to an heir
 * must-fail: -DNO_TELL -DPROCS=3 -DHEIR=1 -DREADERS=0 -DGIVES_UP=1   an heir that gives up wakes nobody
 * must-fail: -DNO_SECOND_LOOK -DPROCS=3 -DHEIR=1 -DREADERS=0 -DGIVES_UP=1   heir is not looked at after the mark
 * must-fail: -DNO_CHANGE -DPROCS=3 -DHEIR=1 -DREADERS=0 -DGIVES_UP=1   gives up, wakes, leaves the word as it was
 * must-fail: -DCHANGE=MARK -DPROCS=3 -DHEIR=1 -DREADERS=6 -DGIVES_UP=1   takes off what another may put there again
 * must-fail: -DCHANGE=24 -DPROCS=3 -DHEIR=1 -DREADERS=2 -DDIES=2   MARK is taken off before the wake
 * must-fail: -DNO_INSIDE -DPROCS=3 -DHEIR=1 -DREADERS=1   an heir that reads does not wake
 * must-fail: -DNO_CLEAR -DNO_CHECK -DPROCS=3 -DHEIR=1 -DREADERS=0   who was granted it stays heir
 * must-fail: -DNO_MARK -DPROCS=3 -DHEIR=1 -DREADERS=0   sleeps before an heir without the mark
 * must-fail: -DNO_STATE -DPROCS=2 -DREADERS=0 -DEXPIRES=1   who has the word does not look at its own lease last
 */
#ifndef OPS
#define OPS 1
#endif
#ifndef GIVES_UP
#define GIVES_UP 0
#endif

#define OWNER(v) ((v) & 7)
#define MARK 8
#define WANTED 16
#define TOKEN(v) ((v) >> 5)
#define FIRST 4			/* who has the word at the start */
#define WORD 1			/* futex words, as bits of q[]: the lock word, */
#define LIVE(p) (1 << (p))	/* the liveness of p */
#define IS_READER(p) ((READERS >> ((p) - 1)) & 1)
#ifndef CHANGE
#define CHANGE WANTED		/* what an heir that resigns takes off a free word before it wakes */
#endif
#ifdef NO_STATE
#define OWN_STATE true
#else
#define OWN_STATE !lost[me]
#endif
#define GONE(p) (dead[p] || lost[p])

short w;			/* owner, MARK, WANTED, token */
byte heir;			/* a lease, and HEIR_READS as READERS says of it */
bit waits[5];			/* what the lease waits for is this lock */
bit reads[4];			/* its record says SHARED */
bit dead[5];			/* the liveness word is marked */
bit kill[4];			/* SIGKILL is on its way */
bit lost[5];			/* the lease has expired */
byte q[5];			/* the futex words each one is queued on */
bit woken[4];
byte writer;			/* ghosts: who may believe that it writes, */
byte reading;			/* that it reads (bits) */

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

/* the lost owner's word, by CAS from the exact value; then `wake_others` */
inline reap(x)
{
	if
	:: dead[x] -> wake_all(LIVE(x))
	:: else
	fi;
	d_step {
		if
		:: w == r -> w = TOKEN(r) << 5
		:: else
		fi;
		if
		:: heir == x -> heir = 0
		:: else
		fi;
		drop(1, WORD); drop(2, WORD); drop(3, WORD)
	}
}

/* 11: if the word is me's; with WANTED if somebody was passed over */
inline free()
{
	atomic {
		if
		:: OWNER(w) != me
		:: OWNER(w) == me && (w & MARK) && heir -> r = w; w = TOKEN(w) << 5 | WANTED
		:: OWNER(w) == me -> r = w; w = TOKEN(w) << 5
		fi
	}
	if
	:: r & MARK -> d_step { drop(1, WORD); drop(2, WORD); drop(3, WORD); r = 0 }
	:: else -> r = 0
	fi
}

/* Of a free word the WANTED that kept others out; then, when nobody sleeps on it, the MARK. */
inline resign_and_wake()
{
	if
	:: atomic { heir == me -> heir = 0 }
		r = w;
#ifndef NO_CHANGE
		d_step {
			if
			:: OWNER(r) == 0 && w == r -> w = r & ~CHANGE
			:: else
			fi
		}
#endif
#ifndef NO_TELL
		wake_all(WORD);
#endif
		d_step {
			if
			:: OWNER(r) == 0 && w == (r & ~WANTED) -> w = TOKEN(r) << 5
			:: else
			fi;
			r = 0
		}
	:: atomic { heir != me -> skip }
	fi
}

/* `awaited_heir`: o is whom a free lock is to be left to, or 0 */
inline judge_heir()
{
	if
	:: o == me || o == 0 -> o = 0
	:: else ->
		if
#ifndef NO_CHECK
		:: !waits[o] || GONE(o) -> heir = 0; o = 0
		:: waits[o] && !GONE(o) ->
#else
		:: true ->
#endif
			if
			:: !IS_READER(me)	/* an heir of a free lock has waited for long */
			:: IS_READER(me) && !IS_READER(o) && !over
			:: IS_READER(me) && !IS_READER(o) && waits[me] -> over = 1; o = 0
			:: IS_READER(me) && IS_READER(o) -> o = 0
			fi
		fi
	fi
}

proctype Lease(byte me)
{
	short r;
	byte o, n;
	bit quit, over;		/* over: it has waited for a millisecond */

	{
#ifdef HEIR
	if
	:: atomic { me == HEIR -> n = 1; o = FIRST; goto asleep }
	:: atomic { me != HEIR -> skip }
	fi;
#endif
	do
	:: atomic { n < OPS && !lost[me] -> n++ }
look:		if
		:: atomic { OWNER(w) && !GONE(OWNER(w)) -> r = w; o = OWNER(r) }
		:: atomic { OWNER(w) && GONE(OWNER(w)) -> r = w; o = OWNER(r) }
			reap(o);
			atomic { r = 0; o = 0; goto look }
		:: atomic { !OWNER(w) && !(w & WANTED) -> r = w }
		:: atomic { !OWNER(w) && (w & WANTED) -> r = w }
			atomic { o = heir; judge_heir() }
			if
			:: atomic { !o && IS_READER(me) ->
				if
				:: w == r -> w = r & ~WANTED
				:: else
				fi
			   }
			:: else
			fi
		fi;
		if
		:: o ->
			waits[me] = 1;
			if
			:: atomic { !IS_READER(me) && !heir -> heir = me }
			:: atomic { !IS_READER(me) && heir -> skip }
			:: atomic { IS_READER(me) && !(heir && IS_READER(heir)) -> heir = me; over = 1 }
			:: atomic { IS_READER(me) && (!over || (heir && IS_READER(heir))) -> skip }
			fi;
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
			:: OWNER(r)
			:: atomic { !OWNER(r) && heir == o -> skip }
			:: atomic { !OWNER(r) && heir != o -> r = 0; o = 0; goto look }
			fi;
#endif
			if
			:: atomic { w == r -> q[me] = WORD; r = 0 }
			:: atomic { w != r -> r = 0; goto back }
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
			:: atomic { lost[o] || lost[me] -> skip }	/* their expiry */
			:: atomic { me == GIVES_UP -> quit = 1 }
			fi;
back:			atomic { q[me] = 0; woken[me] = 0; r = 0 }
			if
			:: atomic { dead[o] -> skip }
				d_step { drop(1, LIVE(o)); drop(2, LIVE(o)); drop(3, LIVE(o)); o = 0 }
			:: atomic { !dead[o] -> o = 0 }
			fi;
			if
			:: atomic { !quit && !lost[me] -> goto look }
			:: atomic { quit || lost[me] -> skip }
			fi
		:: else ->
			if
			:: IS_READER(me) ->
				reads[me] = 1;
				if
				:: atomic { OWNER(w) -> reads[me] = 0; r = 0; goto look }
				:: atomic { !OWNER(w) -> r = 0 }
				fi;
				atomic {
					if
					:: lost[me] -> reads[me] = 0
					:: else -> assert(!writer); reading = reading | LIVE(me)
					fi
				}
			:: else ->
				atomic {
					if
					:: w == r -> w = (r & MARK) | me | ((TOKEN(r) + 1) << 5); r = 0
					:: else -> r = 0; goto look
					fi
				}
#ifndef NO_CLEAR
				atomic {
					if
					:: heir == me -> heir = 0
					:: else
					fi
				}
#endif
				if
				:: atomic {
					OWN_STATE && (!reads[1] || GONE(1)) && (!reads[2] || GONE(2)) &&
					(!reads[3] || GONE(3)) ->
					assert(!writer && !reading); writer = me
				   }
				:: lost[me]
				:: atomic { me == GIVES_UP -> quit = 1 }
				fi
			fi
		fi;
		if
		:: atomic { waits[me] && writer == me -> waits[me] = 0 }
		:: atomic { waits[me] && writer != me -> skip }
			if
			:: IS_READER(me)
			:: else -> free()	/* if it had the word: `complete` */
			fi;
#ifdef NO_INSIDE
			if
			:: atomic { reading & LIVE(me) -> goto inside }
			:: else
			fi;
#endif
			resign_and_wake();
#ifdef NO_INSIDE
inside:
#endif
			waits[me] = 0
		:: atomic { !waits[me] -> skip }
		fi;
		if
		:: IS_READER(me) ->
			atomic { reading = reading & ~LIVE(me); reads[me] = 0; quit = 0; over = 0 }
		:: else ->
			atomic {
				quit = 0;
				if
				:: writer == me -> writer = 0
				:: else
				fi
			}
			free()
		fi
	:: atomic { n == OPS || lost[me] -> break }
	od
	} unless {
		d_step {
			kill[me] ->
			q[me] = 0; woken[me] = 0;
			if
			:: writer == me -> writer = 0
			:: else
			fi;
			reading = reading & ~LIVE(me);
			r = 0; o = 0; n = 0; quit = 0; over = 0
		}
		dead[me] = 1;
		wake_one(LIVE(me))
	}
}

/* has written, and lets go */
proctype First()
{
	short r;
	byte me = FIRST;

	free()
}

#ifdef DIES
active proctype Killer()
{
	kill[DIES] = 1
}
#endif

#ifdef EXPIRES
active proctype Clock()
{
	atomic {
		lost[EXPIRES] = 1;
		reading = reading & ~LIVE(EXPIRES);
		if
		:: writer == EXPIRES -> writer = 0
		:: else
		fi
	}
}
#endif

init {
	atomic {
#ifdef HEIR
		w = FIRST | MARK; heir = HEIR; waits[HEIR] = 1; q[HEIR] = WORD | LIVE(FIRST);
#else
		w = FIRST;
#endif
		run Lease(1); run Lease(2);
#if PROCS > 2
		run Lease(3);
#endif
		run First();
	}
}
