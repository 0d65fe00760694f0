/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Semaphore: two permits, or one in all; acquire of one or of both, release, resize, reap, with death or expiry of
 * holder, collector and reaper at any step.
 *
 * Abstracted: the baton is a mutex, whose own model (mutex.pml) shows that it is handed on promptly
 * and to one only: here it is taken in one step as soon as it is free or its holder is lost. A lease
 * is used once, so that its number is its id. The gate, a hint, is left out. Expiry wakes who armed
 * on the expired one's life: in the code that is the wait's time limit.
 * Kernel and x86-TSO: as in mutex.pml. Only the plain release store of a single permit can be late.
 *
 * Labels (docs/protocol/semaphore.md): try one permit; baton; look load signal and limit; collect take
 * what is free; confirm recheck limit, count and lease; say that I am about to sleep; judge the
 * holders; arm on {signal, limit,
 * their lives}; back; giveback; release; reap.
 *
 * Shown: G1, G6 never more granted than the limit (assertion at the grant); a lease that was lost
 * before it took anything is granted nothing (assertion); who ends in an orderly way has left no
 * permit (assertion); G2, G8 nobody sleeps for ever while what it wants is free or held by the lost:
 * invalid end state. There is no backstop in the model.
 *
 * config: -DPROCS=2 -DDEATHS=2 -DBIG=2 -DPLAINMASK=4 -DGIVEUPS=1
 * ci: -DPROCS=2 -DDEATHS=1 -DBIG=6 -DOPS=2
 * config: -DPROCS=2 -DEXPIRIES=1 -DDEATHS=1 -DBIG=2
 * ci: -DPROCS=2 -DDEATHS=1 -DGROW -DBIG=2
 * config: -DPROCS=2 -DDEATHS=1 -DSHRINK -DBIG=2 -DPLAINMASK=4
 * ci: -DPROCS=3 -DDEATHS=1 -DBIG=2
 * config: -DONE -DPROCS=2 -DDEATHS=1 -DGIVEUPS=1 -DPLAINMASK=4 -DOPS=2   one permit in all: its holder keeps the baton
 * config: -DONE -DPROCS=2 -DEXPIRIES=1 -DOPS=2
 * ci: -DONE -DPROCS=3 -DDEATHS=2 -DPLAINMASK=4
 * quick: -DPROCS=2 -DDEATHS=1 -DBIG=2 -DPLAINMASK=4
 * quick: -DONE -DPROCS=2 -DDEATHS=1 -DPLAINMASK=4 -DOPS=2
 *
 * must-fail: -DNO_BATON -DPROCS=2 -DBIG=6   two collect at the same time
 * must-fail: -DNO_WAKE -DPROCS=2 -DBIG=2   a release wakes nobody
 * must-fail: -DNO_FENCE -DPROCS=2 -DBIG=2 -DPLAINMASK=4   released by a store, looks whether somebody sleeps too soon
 * must-fail: -DSAYS_LATE -DPROCS=2 -DBIG=2   says that it sleeps after its last look
 * must-fail: -DNO_WAKING -DONE -DPROCS=3 -DDEATHS=1   says that the sleeper is awake before the wake
 * must-fail: -DNO_MEMBARRIER -DPROCS=2 -DBIG=2 -DPLAINMASK=4   no membarrier before the sleep
 * must-fail: -DNO_ARM -DPROCS=2 -DBIG=2 -DDEATHS=1   not armed on the holders' lives
 * must-fail: -DNO_FREE -DPROCS=2 -DBIG=2 -DDEATHS=1   what is free by the walk over holders is ignored
 * must-fail: -DLATE -DPROCS=2 -DBIG=2   signal read after the walk over holders
 * must-fail: -DNO_RECHECK -DPROCS=2 -DEXPIRIES=1   the lease is not looked at after the take
 * must-fail: -DNO_LIMIT -DPROCS=2 -DSHRINK   the limit is not looked at after the take
 * must-fail: -DNO_COUNT -DPROCS=2 -DSHRINK -DOPS=2   after a shrink nobody counts
 * must-fail: -DNO_LIMIT_WAKE -DPROCS=2 -DGROW -DBIG=2   a resize wakes nobody
 * must-fail: -DNO_GIVEBACK -DPROCS=2 -DBIG=2 -DGIVEUPS=1   a collector gives up and keeps its permits
 * must-fail: -DNO_PASS -DONE -DPROCS=2 -DOPS=2   who kept the baton with the only permit releases that alone
 */
#ifndef OPS
#define OPS 1
#endif
#ifndef BIG
#define BIG 0				/* bit p: lease p wants both */
#endif
#ifndef PLAINMASK
#define PLAINMASK 0			/* bit p: lease p releases a single permit by a store */
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

#define SIGNAL 1			/* futex words, as bits of q[] */
#define LIMIT 2
#define AWAKE 0
#define ASLEEP 1
#define WAKING 2
#define NOBODY 255			/* signal counts from 0 */
#define LIVE(p) (2 << (p))
#define LOST(p) (dead[p] || expired[p])
#define WANTS (1 + ((BIG >> me) & 1))
#if PROCS > 2
#define THIRD(x) x
#else
#define THIRD(x)
#endif

byte owner[2];				/* of each permit; 0: free */
byte baton, limit, signal;
byte says;				/* the signal's low bits: AWAKE, ASLEEP, WAKING */
byte sb[PROCS + 1];			/* a late release store: of permit sb - 1 */
bit dead[PROCS + 1], expired[PROCS + 1], kill[PROCS + 1];
byte q[PROCS + 1];
bit woken[PROCS + 1];
byte granted[PROCS + 1];		/* ghost: what each may believe that it holds */
byte deaths, expiries, giveups;

inline drop(i, b)
{
	if
	:: q[i] & (b) -> q[i] = q[i] & ~(b); woken[i] = 1
	:: else
	fi
}

inline wake_all(b)
{
	d_step { drop(1, b); drop(2, b); THIRD(drop(3, b)) }
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
		:: else
		fi
	}
}

inline drain(i)
{
	if
	:: sb[i] -> owner[sb[i] - 1] = 0; sb[i] = 0
	:: else
	fi
}

inline membarrier()
{
	d_step { drain(1); drain(2); THIRD(drain(3)) }
}

/* After permits were given back by me: whoever has the baton may sleep. */
inline tell()
{
#ifndef NO_WAKE
	if
	:: baton ->
		atomic {
#ifndef NO_FENCE
			drain(me);
#endif
			if
			:: says == ASLEEP -> signal++; told = signal;
#ifndef NO_WAKING
				says = WAKING
#else
				says = AWAKE
#endif
			:: says == WAKING -> told = signal
			:: says == AWAKE -> told = NOBODY
			fi
		}
		if
		:: told != NOBODY ->
			wake_all(SIGNAL);
			atomic {
				if
				:: says == WAKING && told == signal -> says = AWAKE
				:: else
				fi;
				told = NOBODY
			}
		:: else
		fi
	:: else -> skip
	fi
#else
	skip
#endif
}

/* The same behind one that was lost: it may not have told. */
inline tell_again()
{
	if
	:: baton ->
		atomic { drain(me); signal++ }
		wake_all(SIGNAL)
	:: else -> skip
	fi
}

inline give_back(i, x)
{
	d_step {
		drain(me);
		if
		:: owner[i] == x -> owner[i] = 0
		:: else
		fi
	}
}

/* lost: everybody who sleeps on its life first, then each word by CAS, then the baton. */
inline reap(x)
{
	wake_all(LIVE(x));
	give_back(0, x);
	give_back(1, x);
	d_step {
		if
		:: baton == x -> baton = 0
		:: else
		fi
	}
	tell_again()
}

/* The same by me, who may have kept the baton. */
inline tell_or_pass()
{
	if
	:: kept && baton == me ->
#ifndef NO_PASS
		d_step { drain(me); baton = 0 }
#else
		d_step { drain(me) }
#endif
	:: else -> tell()
	fi
}

/* What this call took. */
inline undo()
{
	if
	:: got0 -> give_back(0, me)
	:: else
	fi;
	if
	:: got1 -> give_back(1, me)
	:: else
	fi;
	atomic { got0 = 0; got1 = 0; granted[me] = 0 }
}

#define TOTAL (granted[1] + granted[2] THIRD(+ granted[3]))

/* All that I want is mine: does the limit still allow it? Sets ok; the moment of the grant. */
inline confirm()
{
	atomic {
#ifdef NO_LIMIT
		ok = 1;
#else
		ok = (limit == l);
#endif
		if
		:: ok && l == 2 && !LOST(me) -> granted[me] = WANTS; assert(TOTAL <= limit)
		:: else
		fi
	}
	if
	:: ok && l == 1 ->
#ifndef NO_COUNT
		n = (owner[0] != 0);
		atomic { n = n + (owner[1] != 0); ok = (n <= 1) }
#endif
		atomic {
			if
			:: ok && !LOST(me) -> granted[me] = WANTS;
#ifndef GROW
				assert(TOTAL <= 1)
#endif
			:: else
			fi
		}
	:: else
	fi
}

proctype Lease(byte me)
{
	byte s, l, n, o1, o2, turn, told = NOBODY;
	bit ok, fenced, quit, late, got0, got1, free, again, kept;

	{
	do
	:: turn < OPS ->
		turn++;
try:		/* one permit, past the queue */
		if
		:: WANTS == 1 ->
			l = limit;
			late = LOST(me);
			atomic {
				if
				:: owner[0] == 0 && l > 0 -> owner[0] = me; late = LOST(me); got0 = 1
				:: owner[1] == 0 && l > 1 -> owner[1] = me; late = LOST(me); got1 = 1
				:: else
				fi
			}
			if
			:: got0 || got1 -> goto confirming
			:: else
			fi
		:: else
		fi;
baton_:
#ifndef NO_BATON
		if
		:: atomic { baton == 0 -> baton = me }
		:: baton && baton != me && LOST(baton) ->
			atomic { o1 = baton }
			if
			:: o1 && LOST(o1) -> reap(o1)
			:: else
			fi;
			o1 = 0;
			goto baton_
		:: LOST(me) -> goto leave
		fi;
#endif
		fenced = 0;
look:
#ifndef LATE
		s = signal;
#endif
		l = limit;
		if
		:: WANTS > l ->			/* aside, until a resize */
			undo();
			d_step {
				if
				:: baton == me -> baton = 0
				:: else
				fi
			}
			if
			:: atomic { limit == l -> q[me] = LIMIT }
				if
				:: atomic { woken[me] -> skip }
				:: atomic { timeout ->		/* its deadline */
					assert(limit < WANTS); q[me] = 0; goto leave
				   }
				fi
			:: limit != l
			fi;
			atomic { q[me] = 0; woken[me] = 0; goto baton_ }
		:: else
		fi;
collect:	atomic {
			if
			:: owner[0] == 0 && l > 0 && !got0 ->
				if
				:: !got0 && !got1 -> late = LOST(me)
				:: else
				fi;
				owner[0] = me; got0 = 1
			:: else
			fi
		}
		atomic {
			if
			:: owner[1] == 0 && l > 1 && got0 + got1 < WANTS ->
				if
				:: !got0 -> late = LOST(me)
				:: else
				fi;
				owner[1] = me; got1 = 1
			:: else
			fi
		}
		if
		:: got0 + got1 == WANTS ->
confirming:		confirm();
			if
			:: ok ->
#ifndef NO_RECHECK
				if
				:: LOST(me) -> goto giveback
				:: else
				fi;
#endif
				assert(!late);
				goto grant
			:: else ->
				if
				:: limit != l || baton != me -> goto refused
				:: else	-> skip	/* too many are held beyond it: wait */
				fi
			fi
		:: else
		fi;
		if
		:: !fenced ->
			fenced = 1;
#ifndef NO_MEMBARRIER
			membarrier();
#endif
			goto look
		:: else
		fi;
#if !defined(LATE) && !defined(SAYS_LATE)
say:		atomic {
			if
			:: signal == s -> says = ASLEEP
			:: else -> goto look
			fi
		}
#endif
judge:		atomic {
			o1 = owner[0]; n = (o1 == 0 && l > 0);
			free = n; n = (o1 != 0);
			if
			:: o1 == me -> o1 = 0
			:: else
			fi
		}
		atomic {
			o2 = owner[1]; free = free || (o2 == 0 && l > 1); n = n + (o2 != 0);
			if
			:: o2 == me -> o2 = 0
			:: else
			fi;
#ifndef NO_FREE
			again = (got0 + got1 == WANTS -> n <= l : free);
#endif
			n = 0; free = 0
		}
		if
		:: o1 && LOST(o1) -> reap(o1); again = 0; goto look
		:: o2 && LOST(o2) -> reap(o2); again = 0; goto look
		:: atomic { else -> skip }
		fi;
		if
		:: atomic { again -> again = 0; o1 = 0; o2 = 0; goto look }
		:: else
		fi;
#ifdef LATE
		atomic { s = signal; says = ASLEEP }
#endif
#ifdef SAYS_LATE
		atomic {
			if
			:: signal == s -> says = ASLEEP
			:: else -> goto back
			fi
		}
#endif
arm:		if
		:: atomic { signal == s -> q[me] = SIGNAL }
		:: atomic { else -> goto back }
		fi;
		if
		:: atomic { limit == l -> q[me] = q[me] | LIMIT }
		:: atomic { else -> goto back }
		fi;
#ifndef NO_ARM
		if
		:: o1 == 0
		:: atomic { o1 && !LOST(o1) -> q[me] = q[me] | LIVE(o1) }
		:: atomic { o1 && LOST(o1) -> goto back }
		fi;
		if
		:: o2 == 0 || o2 == o1
		:: atomic { o2 && o2 != o1 && !LOST(o2) -> q[me] = q[me] | LIVE(o2) }
		:: atomic { o2 && o2 != o1 && LOST(o2) -> goto back }
		fi;
#endif
		if
		:: atomic { woken[me] -> skip }
		:: atomic { LOST(me) -> quit = 1 }	/* its own expiry */
		:: atomic { giveups < GIVEUPS -> giveups++; quit = 1 }
		fi;
back:		atomic { q[me] = 0; woken[me] = 0 }
		if
		:: o1 && dead[o1] -> wake_all(LIVE(o1))
		:: else
		fi;
		if
		:: o2 && dead[o2] -> wake_all(LIVE(o2))
		:: else
		fi;
		atomic { o1 = 0; o2 = 0 }
		if
		:: quit || LOST(me) -> goto giveback
		:: else -> goto look
		fi;
refused:	/* give back and look again, in turn */
		undo();
		tell();
		ok = 0;
		if
		:: baton == me -> goto look
		:: else -> goto baton_
		fi;
giveback:
#ifndef NO_GIVEBACK
		undo();
#endif
		tell();
		goto leave;
grant:		skip;
#ifdef ONE
		kept = 1;
#else
		d_step {
			if
			:: baton == me -> baton = 0
			:: else
			fi
		}
#endif
release:	if
		:: LOST(me) -> skip		/* -ESTALE, and nothing is written */
		:: !LOST(me) && WANTS == 1 && ((PLAINMASK >> me) & 1) ->
			atomic { granted[me] = 0; sb[me] = 1 + got1 }
			tell_or_pass();
			d_step { drain(me) }
		:: else ->
			granted[me] = 0;
			undo();
			tell_or_pass()
		fi;
leave:		skip;
		d_step {
			if
			:: baton == me && !kept -> baton = 0
			:: else
			fi;
			kept = 0;
			got0 = 0; got1 = 0; quit = 0; ok = 0; granted[me] = 0; again = 0; late = 0; fenced = 0;
			s = 0; l = 0; n = 0; o1 = 0; o2 = 0
		}
		assert(LOST(me) || (owner[0] != me && owner[1] != me))
	:: break
	od
	} unless {
		d_step {
			kill[me] ->
			q[me] = 0; woken[me] = 0; granted[me] = 0;
			drain(me);
			s = 0; l = 0; n = 0; o1 = 0; o2 = 0; turn = 0;
			ok = 0; fenced = 0; quit = 0; late = 0; got0 = 0; got1 = 0; free = 0; again = 0; kept = 0;
			told = NOBODY
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
		fi
	   }
	:: break
	od
}
#endif

#if EXPIRIES
/* A lease expires and that is latched; what it held is lost to it from now on. */
proctype Clock()
{
	do
	:: atomic {
		expiries < EXPIRIES -> expiries++;
		if
		:: !LOST(1) -> expired[1] = 1; granted[1] = 0; wake_all(LIVE(1))
		:: !LOST(2) -> expired[2] = 1; granted[2] = 0; wake_all(LIVE(2))
		:: else
		fi
	   }
	:: break
	od
}
#endif

#if defined(SHRINK) || defined(GROW)
proctype Resizer()
{
#ifdef SHRINK
	limit = 1;
#else
	limit = 2;
#endif
#ifndef NO_LIMIT_WAKE
	wake_all(LIMIT)
#endif
}
#endif

init {
	atomic {
#if defined(GROW) || defined(ONE)
		limit = 1;
#else
		limit = 2;
#endif
		run Lease(1); run Lease(2); THIRD(run Lease(3));
#if PLAINMASK
		run Buffers();
#endif
#if DEATHS
		run Killer();
#endif
#if EXPIRIES
		run Clock();
#endif
#if defined(SHRINK) || defined(GROW)
		run Resizer();
#endif
	}
}
