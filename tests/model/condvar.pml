/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Condition variable: wait, signal, and handing on the signal of a waiter that dies or expires at any
 * step; a signaller may die between marking and waking.
 *
 * Abstracted: each waiter waits once, so no sequence is needed in its word; no slot is used again
 * (lease.pml); the mutex is taken and freed in one step, by its holder's loss as well (mutex.pml); one
 * group of slots; six to be watched are enough for all. Whose lease has expired goes on or hangs; those
 * who watch it wake by the clock.
 * Kernel: as in mutex.pml.
 *
 * Labels (docs/protocol/condvar.md): appear 1; arrive 2, ticket 3; let go; look 4; sleep 5; stop 6 and
 * tell 7; retake 8; leave 9, lost: without the mutex; signal(): choose 2, mark 3, wake 4, again 5; hand on.
 *
 * Shown (Monitor, when nothing moves any more): of a signal that was sent whole, either a living waiter
 * has it and has returned or is on its way, or nobody who slept when it was sent sleeps still: G8.
 * There is no backstop, but with BACKSTOP, where all who sleep look once more when nothing moves.
 *
 * config: -DWAITERS=2 -DSIGNALS=1 -DDEATHS=1 -DGIVEUPS=1
 * config: -DWAITERS=2 -DSIGNALS=1 -DDEATHS=0 -DEXPIRIES=1
 * config: -DWAITERS=2 -DSIGNALS=1 -DDEATHS=1 -DOWN -DANYTIME   each with a mutex of its own
 * config: -DWAITERS=2 -DSIGNALS=2 -DDEATHS=0 -DHALF=1 -DSTANDING   all wait already
 * config: -DWAITERS=2 -DSIGNALS=2 -DDEATHS=1 -DHALF=1 -DSTANDING -DBACKSTOP   signaller and waiter die
 * ci: -DWAITERS=2 -DSIGNALS=1 -DDEATHS=0 -DEXPIRIES=1 -DGIVEUPS=1
 * ci: -DWAITERS=3 -DSIGNALS=2 -DDEATHS=1 -DSTUCK=4 -DSTANDING   the second gets no mutex
 * quick: -DWAITERS=2 -DSIGNALS=1 -DDEATHS=1
 *
 * must-fail: -DEARLY -DWAITERS=2 -DSIGNALS=1 -DDEATHS=1 -DSTANDING   mark cleared before the mutex is retaken
 * must-fail: -DNO_AGAIN -DWAITERS=1 -DSIGNALS=2 -DDEATHS=0 -DHALF=1   the marked are not woken again
 * must-fail: -DNO_WATCH -DWAITERS=2 -DSIGNALS=1 -DDEATHS=1 -DSTANDING   nobody watches the one before
 * must-fail: -DLATE -DWAITERS=1 -DSIGNALS=1 -DDEATHS=0   appears after it has let the mutex go
 * must-fail: -DNO_HAND_ON -DWAITERS=2 -DSIGNALS=1 -DDEATHS=1 -DSTANDING   clears up without a signal
 * must-fail: -DNO_TELL -DWAITERS=3 -DSIGNALS=2 -DDEATHS=1 -DSTUCK=4 -DSTANDING   stops watching in silence
 * must-fail: -DTELL_FIRST -DWAITERS=3 -DSIGNALS=2 -DDEATHS=1 -DSTUCK=4 -DSTANDING   tells, then says AWAKE
 * must-fail: -DNO_AWAKE -DWAITERS=3 -DSIGNALS=2 -DDEATHS=1 -DSTUCK=4 -DSTANDING   watches the nearest only
 * must-fail: -DTICKET_FIRST -DWAITERS=2 -DSIGNALS=1 -DDEATHS=1 -DOWN   a ticket before it appears
 * must-fail: -DBLIND -DWAITERS=2 -DSIGNALS=2 -DDEATHS=0 -DGIVEUPS=1 -DANYTIME   forgets a group though somebody arrived
 * must-fail: -DNO_EXPIRY -DWAITERS=2 -DSIGNALS=1 -DDEATHS=0 -DEXPIRIES=1 -DSTANDING   sleeps past the expiry of the one before
 * must-fail: -DKEEPS_MARK -DWAITERS=2 -DSIGNALS=1 -DDEATHS=0 -DEXPIRIES=1 -DSTANDING   lost, it leaves with its signal
 * must-fail: -DNO_TIME_OUT_LOOK -DWAITERS=2 -DSIGNALS=1 -DDEATHS=0 -DGIVEUPS=1 -DSTANDING   its mark is ignored
 */
#ifndef GIVEUPS
#define GIVEUPS 0
#endif
#ifndef EXPIRIES
#define EXPIRIES 0
#endif
#ifndef HALF
#define HALF 0				/* signallers that may die between mark and wake */
#endif
#ifndef STUCK
#define STUCK 0				/* bit p: waiter p never gets its mutex again */
#endif

#define WANTED 1
#define QUEUED 2
#define AWAKE 4
#define MARK 8
#define COND(p) (1 << ((p) - 1))	/* futex words, as bits of q[] */
#define LIVE(p) (1 << ((p) + 2))
#define DEP(p) (1 << ((p) + 5))

#if WAITERS > 1
#define SECOND(x) x
#else
#define SECOND(x)
#endif
#if WAITERS > 2
#define THIRD(x) x
#else
#define THIRD(x)
#endif

byte c[WAITERS + 1], ticket[WAITERS + 1], dep[WAITERS + 1];
byte arrivals;
bit group;
byte m;					/* the mutex: its holder */
bit dead[WAITERS + 1], kill[WAITERS + 1], woken[WAITERS + 1], left_it[WAITERS + 1];
short q[WAITERS + 1];
bit over[WAITERS + 1];			/* its lease has expired; with kill: it hangs */
byte deaths, expiries, giveups, half;
#define GONE(i) (dead[i] || over[i])
/* ghosts */
bit waiting[WAITERS + 1];		/* let go, and asleep or about to */
byte got[WAITERS + 1];			/* whose signal marks it */
bit used[SIGNALS + 1], whole[SIGNALS + 1];
byte for_whom[SIGNALS + 1];		/* who slept, marked or not, when it was sent */

inline drop(i, b)
{
	if
	:: q[i] & (b) -> q[i] = q[i] & ~(b); woken[i] = 1
	:: else
	fi
}

inline wake_all(b)
{
	d_step { drop(1, b); SECOND(drop(2, b)); THIRD(drop(3, b)) }
}

inline wake_one(b)
{
	atomic {
		if
		:: q[1] & (b) -> drop(1, b)
#if WAITERS > 1
		:: q[2] & (b) -> drop(2, b)
#endif
#if WAITERS > 2
		:: q[3] & (b) -> drop(3, b)
#endif
		:: else
		fi
	}
}

/* Those who sleep before those AWAKE, then the lower ticket. */
#define KEY(i) (ticket[i] + ((c[i] & AWAKE) << 2))

inline signal(id, may_die)
{
	do
	:: atomic { !group -> break }
	:: atomic { else -> v = arrivals; best = 0; seen = 0; j = 1 }
		do
		:: atomic { j <= WAITERS ->
			if
			:: c[j] & WANTED ->
				seen = 1;
				if
				:: (c[j] & (QUEUED | MARK)) == QUEUED && !GONE(j) &&
				   (best == 0 || KEY(j) < key) -> best = j; key = KEY(j); bc = c[j]
				:: else
				fi
			:: else
			fi;
			j++ }
		:: atomic { else -> j = 0; key = 0; break }
		od;
		if
		:: atomic { best == 0 ->
			if
#ifdef BLIND
			:: !seen -> group = 0
#else
			:: !seen && arrivals == v -> group = 0
#endif
			:: else
			fi;
			v = 0; seen = 0;
#ifndef NO_AGAIN
			j = 1;
			do
			:: j <= WAITERS ->
				if
				:: (c[j] & (WANTED | MARK | AWAKE)) == (WANTED | MARK) ->
					wake_all(COND(j))
				:: else
				fi;
				j++
			:: else -> j = 0; break
			od;
#endif
			break }
		:: atomic { best && c[best] == bc ->
			v = 0; seen = 0; bc = 0; c[best] = c[best] | MARK; got[best] = id }
			if
			:: atomic { may_die && half < HALF -> half++; best = 0; goto gone }
			:: atomic { wake_all(COND(best)); best = 0 }
			fi;
			break
		:: atomic { best && c[best] != bc -> v = 0; seen = 0; bc = 0; best = 0 }
		fi
	od
}

/* Waiter i is lost: its signal goes on. */
inline hand_on(i)
{
	do
	:: atomic { c[i] & WANTED -> x = c[i] }
#ifndef NO_HAND_ON
		if
		:: x & MARK -> signal(got[i], 0)
		:: else
		fi;
#endif
		atomic {
			if
			:: c[i] == x -> c[i] = 0; got[i] = 0; x = 0; break
			:: else -> x = 0
			fi
		}
	:: else -> break
	od
}

#define APPEAR c[me] = WANTED
#define ARRIVE arrivals++; group = 1; x = arrivals
#define TICKET ticket[me] = x; c[me] = WANTED | QUEUED; x = 0

/* One of those before me, as far as I have come to know them, is there still. */
#define RELIED(i) (((mine >> i) & 1) && (c[i] & WANTED))

inline tell()
{
	if
	:: !all || RELIED(1) SECOND(|| RELIED(2)) THIRD(|| RELIED(3)) ->
		dep[me]++; wake_all(DEP(me))
	:: else
	fi
}

proctype Waiter(byte me)
{
	byte i, x, v, j, best, key, bc, near, mine;
	bit seen, all, quit;
	byte d[WAITERS + 1], at[WAITERS + 1];	/* of whom to watch: departures, ticket */
	bit w[WAITERS + 1], sleeps[WAITERS + 1];

	{
#ifdef STANDING
		goto look;
#endif
#ifdef OWN
#ifdef TICKET_FIRST
		atomic { arrivals++; x = arrivals }
		APPEAR;
		atomic { group = 1; TICKET }
#else
		APPEAR;
		atomic { ARRIVE }
		atomic { TICKET }
#endif
		waiting[me] = 1;
#else
#ifdef LATE
		atomic { m == 0 -> m = me }
		atomic { m = 0; waiting[me] = 1 }
		APPEAR;
		atomic { ARRIVE; TICKET }
#else
		atomic { m == 0 -> m = me; APPEAR }
		atomic { ARRIVE; TICKET }
		atomic { m = 0; waiting[me] = 1 }
#endif
#endif
look:		if
		:: atomic { c[me] & MARK -> goto stop }
		:: atomic { else -> i = 1 }
		fi;
		do
		:: atomic { i <= WAITERS ->
			if
			:: i != me && (c[i] & WANTED) && GONE(i) -> goto clear
			:: else
			fi;
			d[i] = dep[i];
			if
			:: i != me && (c[i] & WANTED) && !((c[i] & QUEUED) && ticket[i] > ticket[me]) ->
				w[i] = 1;
#ifdef NO_AWAKE
				sleeps[i] = 1;
#else
				sleeps[i] = (c[i] & (QUEUED | AWAKE)) == QUEUED;
#endif
				at[i] = ((c[i] & QUEUED) -> ticket[i] : 99)
			:: else
			fi;
			i++ }
		:: atomic { else ->
			/* Down to the nearest that sleeps: those before it are its affair. */
			near = 0; i = 1;
			do
			:: i <= WAITERS ->
				if
				:: w[i] && sleeps[i] && at[i] > near -> near = at[i]
				:: else
				fi;
				i++
			:: else -> break
			od;
			i = 1; all = 1; mine = 0;
			do
			:: i <= WAITERS ->
				if
				:: w[i] -> mine = mine | (1 << i)
				:: else
				fi;
				if
				:: w[i] && at[i] < near -> w[i] = 0
				:: else
				fi;
				if
				:: !w[i] -> d[i] = 0
				:: else
				fi;
				at[i] = 0; sleeps[i] = 0; i++
			:: else -> break
			od;
			near = 0; i = 1; break }
		od;
		/* The kernel compares and queues all: who is woken on the way looks at all again. */
		atomic {
			if
			:: c[me] != (WANTED | QUEUED) || over[me] -> goto back
			:: else -> q[me] = COND(me)
			fi;
			do
			:: i <= WAITERS ->
				if
				:: w[i] && dep[i] != d[i] -> goto back
				:: w[i] && dep[i] == d[i] -> q[me] = q[me] | DEP(i)
				:: else
				fi;
#ifndef NO_WATCH
				if
				:: w[i] && GONE(i) -> goto back
				:: w[i] && !GONE(i) -> q[me] = q[me] | LIVE(i)
				:: else
				fi;
#endif
				i++
			:: else -> i = 0; break
			od
		}
end_asleep:	if
		:: atomic { woken[me] -> skip }
		:: atomic { giveups < GIVEUPS -> giveups++; quit = 1 }
		fi;
back:		atomic {
			q[me] = 0; woken[me] = 0; i = 1;
			do			/* whoever is told of a death tells all others */
			:: i <= WAITERS ->
				if
				:: w[i] && dead[i] -> wake_all(LIVE(i))
				:: else
				fi;
				w[i] = 0; d[i] = 0;
				i++
			:: else -> i = 0; break
			od;
			if
			:: quit || over[me] -> goto stop
			:: else -> goto look
			fi
		}
clear:		hand_on(i);
		atomic {
			if
			:: i == me -> i = 0; goto without
			:: else -> i = 1
			fi;
			do
			:: i <= WAITERS -> w[i] = 0; d[i] = 0; at[i] = 0; sleeps[i] = 0; i++
			:: else -> i = 0; break
			od;
			goto look
		}
stop:
#ifdef TELL_FIRST
		tell();
#endif
#ifdef EARLY
		atomic { c[me] = 0; waiting[me] = 0 }
#else
		atomic { c[me] = c[me] | AWAKE; waiting[me] = 0 }
#endif
#ifndef TELL_FIRST
#ifndef NO_TELL
		tell();
#endif
#endif
end_stuck:	!((STUCK >> me) & 1) || over[me];
		if
		:: atomic { over[me] -> goto lost }
#ifdef OWN
		:: atomic { !over[me] }
#else
		:: atomic { m == 0 && !over[me] -> m = me }
#endif
		fi;
		atomic {
#ifdef NO_TIME_OUT_LOOK
			if
			:: quit -> got[me] = 0
			:: else
			fi;
#endif
			used[got[me]] = 1; c[me] = 0; quit = 0; left_it[me] = 1;
			if
			:: m == me -> m = 0
			:: else
			fi;
			goto gone
		}
lost:		/* without the mutex */
#ifdef KEEPS_MARK
		atomic { c[me] = 0; got[me] = 0 }
#else
		atomic { i = me; goto clear };
#endif
without:	atomic { quit = 0; left_it[me] = 1 }
gone:		skip
	} unless {
		d_step {
			kill[me] && !left_it[me] ->
			q[me] = 0; woken[me] = 0; waiting[me] = 0;
			if
			:: m == me -> m = 0
			:: else
			fi;
			i = 1;
			do
			:: i <= WAITERS -> w[i] = 0; d[i] = 0; at[i] = 0; sleeps[i] = 0; i++
			:: else -> break
			od;
			i = 0; x = 0; v = 0; j = 0; best = 0; key = 0; bc = 0; near = 0;
			seen = 0; all = 0; mine = 0; quit = 0
		}
		if
		:: over[me]			/* it hangs */
		:: else -> dead[me] = 1; wake_one(LIVE(me))
		fi
	}
}

proctype Signaller(byte id)
{
	byte v, j, best, key, bc;
	bit seen;

#ifdef STANDING
end_first:	(id == 1 || whole[1] || half);		/* one after the other */
#endif
end_none:	atomic {
#ifndef ANYTIME
		waiting[1] SECOND(|| waiting[2]) THIRD(|| waiting[3]) || left_it[1] ->
#endif
		for_whom[id] = waiting[1] SECOND(| (waiting[2] << 1)) THIRD(| (waiting[3] << 2))
	}
	signal(id, 1);
	whole[id] = 1;
gone:	skip
}

#if DEATHS + EXPIRIES
/* Its expiry passes: it wakes itself, or hangs, and all who sleep until then wake. */
inline expire(i)
{
	over[i] = 1; expiries++;
	if
	:: kill[i] = 1
	:: q[i] -> woken[i] = 1
	:: !q[i]
	fi;
#ifndef NO_EXPIRY
	wake_all(LIVE(i))
#endif
}

#define STAYS(i) (!kill[i] && !over[i] && !left_it[i])

proctype Killer()
{
	do
	:: atomic {
		deaths < DEATHS && !(left_it[1] SECOND(&& left_it[2]) THIRD(&& left_it[3])) -> deaths++;
		if
		:: STAYS(1) -> kill[1] = 1
#if WAITERS > 1
		:: STAYS(2) -> kill[2] = 1
#endif
#if WAITERS > 2
		:: STAYS(3) -> kill[3] = 1
#endif
		:: else
		fi
	   }
	:: atomic {
		expiries < EXPIRIES ->
		if
		:: STAYS(1) -> expire(1)
#if WAITERS > 1
		:: STAYS(2) -> expire(2)
#endif
#if WAITERS > 2
		:: STAYS(3) -> expire(3)
#endif
		:: else -> expiries++
		fi
	   }
	:: break
	od
}
#endif

/* Of signal s: somebody alive has it and is on its way. */
#define HAS(i, s) (got[i] == s && !kill[i] && !q[i])
#define TAKEN(s) (used[s] || HAS(1, s) SECOND(|| HAS(2, s)) THIRD(|| HAS(3, s)))
#define ASLEEP(i, mask) (q[i] && !dead[i] && ((mask) >> ((i) - 1)) & 1)
#define ANYBODY(mask) (ASLEEP(1, mask) SECOND(|| ASLEEP(2, mask)) THIRD(|| ASLEEP(3, mask)))
#define SOUND(s) (!whole[s] || TAKEN(s) || !ANYBODY(for_whom[s]))

proctype Monitor()
{
#ifdef BACKSTOP
	atomic {
		timeout -> woken[1] = (q[1] != 0);
		SECOND(woken[2] = (q[2] != 0)); THIRD(woken[3] = (q[3] != 0))
	}
#endif
	timeout;
	atomic {
		assert(SOUND(1));
#if SIGNALS > 1
		assert(SOUND(2))
#endif
	}
}

init {
	atomic {
#ifdef STANDING
		c[1] = WANTED | QUEUED; ticket[1] = 1; waiting[1] = 1;
		SECOND(c[2] = WANTED | QUEUED; ticket[2] = 2; waiting[2] = 1);
		THIRD(c[3] = WANTED | QUEUED; ticket[3] = 3; waiting[3] = 1);
		arrivals = WAITERS; group = 1;
#endif
		run Waiter(1); SECOND(run Waiter(2)); THIRD(run Waiter(3));
		run Signaller(1);
#if SIGNALS > 1
		run Signaller(2);
#endif
#if DEATHS + EXPIRIES
		run Killer();
#endif
		run Monitor()
	}
}
