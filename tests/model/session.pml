/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlock detection over sessions: what a lease holds that does not wait is let go of by a thread,
 * which may wait with another lease. Leases go from thread to thread by way of a pool.
 *
 * Abstracted: a thread takes a first lock with one lease of the pool and a second one with another,
 * lets both go, and does so ROUNDS times. Who waits looks for a cycle once and then sleeps until its lock
 * is free or it is poked (the library looks again at each backstop). Deaths, time-outs and cycles of one
 * lease's own are in deadlock.pml; here each hop is by way of a session.
 *
 * Labels (docs/protocol.md, Deadlock): session 0 store, before the lease holds anything; publish 1 edge
 * {wants, poked = 0, fresh sequence}; owner, whose, search 2 a walk's loads, in this order; again 3 the
 * same once more; poke 4; rest 5; poked 6; back 7 let go, session 0, into the pool.
 *
 * Shown by assertions at poked: nobody gets -EDEADLK who was in no cycle during that wait, and no cycle
 * has two victims; by absence of invalid end states: every cycle has a victim. The ghosts go by who really
 * holds and waits; a cycle can only close when somebody begins to wait.
 *
 * HANDOVER: another thread lets go of what thread 0 took first, whenever it likes (no LH_ACQUIRE_THIS_THREAD: its
 * lease has no session).
 *
 * UNSAID: the same, but only while there is that other thread. Thread 0 may start one while it waits for nothing;
 * that one lets go of what thread 0 took first, or does not, and ends. What thread 0 took first has a session that
 * says so, and counts in waits of thread 0 that say that it is alone: label alone, the look at that and the store.
 *
 * config: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=2
 * config: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=2 -DHANDOVER
 * config: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DUNSAID
 * ci: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=2 -DUNSAID
 * quick: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1
 * quick: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DUNSAID
 *
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DSELF   whoever sees the cycle gives up
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DNO_SESSION   what does not wait ends the walk
 * must-fail: -DTHREADS=3 -DLEASES=5 -DLOCKS=2 -DROUNDS=1 -DLATE_SESSION   the session is stored once it holds
 * must-fail: -DTHREADS=3 -DLEASES=5 -DLOCKS=2 -DROUNDS=1 -DNO_SECOND   no second pass
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DHANDOVER -DKEEPS   whom any may let go of has a session
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DUNSAID -DANYWAY   counts in waits of who is not alone
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DUNSAID -DWHEN_TAKEN   alone when it takes it is alone for good
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=2 -DUNSAID -DSTAYS   what a wait said stays when it has ended
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DUNSAID -DONCE   looks whether it is alone when a wait begins, only
 * must-fail: -DTHREADS=2 -DLEASES=4 -DLOCKS=2 -DROUNDS=1 -DUNSAID -DNO_WALK   says that it is alone and looks for no cycle
 */
#define NUMBER(session) ((session) & 3)
#define NOT_SAID 4
#define ALONE 8
#ifdef ANYWAY
#define WILL_LET_GO(waits, holds) (NUMBER(waits) == NUMBER(holds))
#else
#define WILL_LET_GO(waits, holds) \
	(NUMBER(waits) == NUMBER(holds) && (!((holds) & NOT_SAID) || ((waits) & ALONE)))
#endif

#define POKED 4
#define WANTS(x) (((x) & 3) - 1)
#define FRESH(x, lock) ((((x) & ~7) + 8) | (lock + 1))

byte lock[LOCKS];		/* lease + 1 */
byte edge[LEASES];		/* {wants + 1, POKED, sequence} */
byte session[LEASES];		/* {thread + 1, NOT_SAID or ALONE} */
#ifdef UNSAID
bit other;			/* whether thread 0's process has another thread */
#endif
bit used[LEASES];		/* not in the pool */
byte holds[LOCKS];		/* ghost: thread + 1; THREADS + 1: whom it was handed to */
byte waits[THREADS];		/* ghost: lock + 1 */
byte cycle[THREADS];		/* ghost: is or was in this cycle during this wait */
byte cycles, victims;		/* ghost: how many there were; bit c: cycle c has its victim */

/* The ghosts' own walk, in one step: does my wait close a cycle of threads? */
inline look_for_cycle()
{
	x = me; n = 0;
	do
	:: n <= THREADS && x < THREADS && waits[x] && holds[waits[x] - 1] ->
		x = holds[waits[x] - 1] - 1; n++;
		if
		:: x == me -> break
		:: else
		fi
	:: else -> n = 0; break
	od;
	if
	:: n ->
		cycles++;
		do
		:: n -> cycle[x] = cycles; x = holds[waits[x] - 1] - 1; n--
		:: else -> break
		od
	:: else
	fi;
	x = 0; n = 0
}

inline remember(value)
{
	if
	:: !pass -> seen[n] = value
	:: pass && seen[n] == value
	:: pass && seen[n] != value -> goto rest
	fi;
	n++
}

proctype Thread(byte me)
{
	byte round, first, second, held;
	byte mine, o, x, n, w, want, top, topedge, waiting;
	byte seen[3 * THREADS];
	bit pass, both;

next:	if
	:: atomic { round == ROUNDS -> goto done }
	:: atomic { round < ROUNDS -> round++;
		if
		:: first = 0; second = 1
		:: first = 1; second = 0
#if LOCKS == 3
		:: first = me; second = (me + 1) % 3
#endif
		fi;
		waiting = first; both = 0 }
	fi;

take:	if				/* from the pool: the first one there */
	:: atomic { !used[0] -> used[0] = 1; mine = 0 }
	:: atomic { used[0] && !used[1] -> used[1] = 1; mine = 1 }
	:: atomic { used[0] && used[1] && !used[2] -> used[2] = 1; mine = 2 }
	:: atomic { used[0] && used[1] && used[2] && !used[3] -> used[3] = 1; mine = 3 }
#if LEASES == 5
	:: atomic { used[0] && used[1] && used[2] && used[3] && !used[4] -> used[4] = 1; mine = 4 }
#endif
	fi;
#ifndef LATE_SESSION
	session[mine] = me + 1;
#if defined(HANDOVER) && !defined(KEEPS)
	if
	:: atomic { me == 0 && !both -> session[mine] = 0 }
	:: else
	fi;
#endif
#ifdef UNSAID
	if
#ifdef WHEN_TAKEN
	:: atomic { me == 0 && !both && other -> session[mine] = session[mine] | NOT_SAID }
#else
	:: atomic { me == 0 && !both -> session[mine] = session[mine] | NOT_SAID }
#endif
	:: else
	fi;
#endif
#endif
	if
	:: atomic { lock[waiting] == 0 -> lock[waiting] = mine + 1; holds[waiting] = me + 1; goto granted }
	:: atomic { lock[waiting] != 0 }
	fi;
#ifdef LATE_SESSION
	session[mine] = me + 1;
#endif
#ifdef UNSAID
	session[mine] = me + 1;
#endif
publish: atomic {
		edge[mine] = FRESH(edge[mine], waiting);
		waits[me] = waiting + 1; cycle[me] = 0;
		d_step { look_for_cycle() }
		pass = 0; n = 0; want = waiting; top = mine; topedge = edge[mine]
	}

#ifdef UNSAID
alone:	if
	:: atomic { me == 0 && !other };
		session[mine] = session[mine] | ALONE
	:: atomic { me != 0 || other }
	fi;
#endif

owner:	atomic {
		o = lock[want];
		if
		:: o == 0 || o == mine + 1 -> goto rest
		:: else
		fi;
		remember(o)
	}
	atomic {
		if
		:: (edge[o - 1] & 3) -> goto rest	/* granted a moment ago: by no session */
		:: else
		fi
	}
#ifdef NO_SESSION
	goto rest;
#endif
whose:	atomic {
		x = session[o - 1];
		if
		:: x == 0 -> goto rest
		:: else
		fi;
		remember(x);
		w = 0
	}
search:	do
	:: atomic { w == LEASES -> goto rest }
	:: atomic { w < LEASES && (edge[w] & 3) == 0 -> w++ }
	:: atomic { w < LEASES && (edge[w] & 3) -> o = edge[w] }
		if
		:: atomic { !WILL_LET_GO(session[w], x) -> w++ }
		:: atomic { WILL_LET_GO(session[w], x) -> break }
		fi
	od;
	atomic {
		if
		:: o & POKED -> goto rest
		:: else
		fi;
		remember(o);
		if
		:: w > top -> top = w; topedge = o
		:: else
		fi;
		if
		:: w != mine && n < 3 * THREADS -> want = WANTS(o); goto owner
		:: w != mine && n >= 3 * THREADS -> goto rest
		:: w == mine && o != edge[mine] -> goto rest
		:: else
		fi
	}
again:
#ifndef NO_SECOND
	if
	:: atomic { !pass -> pass = 1; n = 0; want = waiting; goto owner }
	:: atomic { pass }
	fi;
#endif
poke:
#ifdef SELF
	goto poked;
#else
	atomic {
		if
		:: top == mine -> goto poked
		:: top != mine && edge[top] == topedge -> edge[top] = edge[top] | POKED
		:: else
		fi
	}
#endif
rest:	atomic {
		o = 0; x = 0; n = 0; w = 0; want = 0; top = 0; topedge = 0; pass = 0;
		do
		:: n < 3 * THREADS -> seen[n] = 0; n++
		:: else -> n = 0; break
		od
	}
	if
	:: atomic { edge[mine] & POKED -> goto poked }
	:: atomic { lock[waiting] == 0 ->
		lock[waiting] = mine + 1; holds[waiting] = me + 1; waits[me] = 0 }
#if defined(UNSAID) && !defined(ONCE)
	/* the library looks again at each backstop */
	:: atomic { me == 0 && !other && !(session[mine] & ALONE) };
#ifdef NO_WALK
		session[mine] = session[mine] | ALONE;
		goto rest
#else
		atomic { want = waiting; top = mine; topedge = edge[mine]; goto alone }
#endif
#endif
	fi;
	edge[mine] = edge[mine] & ~7;
#if defined(UNSAID) && !defined(STAYS)
	if
	:: atomic { me == 0 && !both -> session[mine] = (me + 1) | NOT_SAID }
	:: atomic { me != 0 || both -> session[mine] = me + 1 }
	fi;
#endif
granted:
#ifdef LATE_SESSION
	session[mine] = me + 1;
#endif
#ifdef HANDOVER
	atomic {
		if
		:: me == 0 && !both -> holds[waiting] = THREADS + 1
		:: else
		fi
	}
#endif
#ifdef UNSAID
	if
	:: atomic { me == 0 && !both && !other -> other = 1; holds[waiting] = THREADS + 1 }
	:: atomic { true }
	fi;
#endif
	atomic {
		if
		:: !both -> held = mine; both = 1; waiting = second; mine = 0; goto take
		:: else
		fi
	}
	atomic { lock[waiting] = 0; holds[waiting] = 0 }
	goto back;

poked:	atomic {
		assert(cycle[me]);
		assert(!((victims >> cycle[me]) & 1));
		victims = victims | (1 << cycle[me]);
		waits[me] = 0; cycle[me] = 0; edge[mine] = edge[mine] & ~7;
		o = 0; x = 0; n = 0; w = 0; want = 0; top = 0; topedge = 0; pass = 0;
		do
		:: n < 3 * THREADS -> seen[n] = 0; n++
		:: else -> n = 0; break
		od
	}
	if
	:: atomic { !both -> used[mine] = 0; mine = 0; goto next }
	:: atomic { both }
	fi;

back:	/* the second lock is free, or was never ours */
#ifndef LATE_SESSION
	session[mine] = 0;
#endif
	atomic { used[mine] = 0; mine = 0 }
#ifdef HANDOVER
	if
	:: atomic { me == 0 -> lock[first] != held + 1 }	/* another lets go of it */
	:: atomic { me != 0 -> lock[first] = 0; holds[first] = 0 }
	fi;
#elif defined(UNSAID)
	if
	:: atomic { lock[first] != held + 1 }	/* the other thread has let go of it */
	:: atomic { holds[first] == me + 1 -> lock[first] = 0; holds[first] = 0 }
	fi;
#else
	atomic { lock[first] = 0; holds[first] = 0 }
#endif
#ifndef LATE_SESSION
	session[held] = 0;
#endif
	atomic { used[held] = 0; held = 0; goto next };
done:	skip
}

#ifdef UNSAID
active proctype OtherThread()
{
	byte me = 0, x, n;

end:	do
	:: atomic { holds[0] == THREADS + 1 -> lock[0] = 0; holds[0] = 0 }
		other = 0
	:: atomic { holds[1] == THREADS + 1 -> lock[1] = 0; holds[1] = 0 }
		other = 0
	:: atomic { holds[0] == THREADS + 1 ->	/* ends without */
		holds[0] = 1; other = 0;
		d_step { look_for_cycle() } }
	:: atomic { holds[1] == THREADS + 1 ->
		holds[1] = 1; other = 0;
		d_step { look_for_cycle() } }
	od
}
#endif

#ifdef HANDOVER
active proctype Other()
{
end:	do
	:: atomic { holds[0] == THREADS + 1 -> lock[0] = 0; holds[0] = 0 }
	:: atomic { holds[1] == THREADS + 1 -> lock[1] = 0; holds[1] = 0 }
	od
}
#endif

init {
	atomic {
#ifdef LATE_SESSION
		session[0] = 2;	/* an earlier tenant's */
		session[1] = 2;
		session[2] = 2;
#endif
		run Thread(0); run Thread(1)
#if THREADS == 3
		;
		run Thread(2)
#endif
	}
}
