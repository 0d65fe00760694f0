/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlock detection: publish an edge, walk owners and edges twice, poke one victim; with
 * time-outs and with death of a member or a walker at any step.
 *
 * Abstracted: process p holds lock p from the start and, a few times or not at all, wants the next
 * one's (PAIR: 0 and 1 each other's, 2 waits outside for 0's); at the end it frees its own. A
 * sleep ends when what it waits for has changed, a poke or a death: which futex wakes do that is
 * mutex.pml. A waiter who is told of a dead owner frees the lock (the reaper of lease.pml). A dead
 * process's edge stays as it was.
 *
 * Labels (docs/protocol.md, Deadlock): publish 1 edge {wants, poked = 0, fresh sequence}; first 2
 * walk and keep each word; second 3 the same words again and nobody dead; poke 4 CAS the exact
 * edge of the highest member; rest 5 sleep; poked 6 clear the edge, -EDEADLK.
 *
 * Shown by assertions at poked: nobody gets -EDEADLK who was in no cycle during that wait, and no
 * cycle has two victims (-EDEADLK is told to one who is in a cycle and to one only); by absence of invalid end
 * states: every cycle that no death and no time-out breaks has a victim, and nobody sleeps for
 * ever. A cycle can only close when an edge is published (who acquires does not wait), so the
 * ghosts look for one there.
 *
 * config: -DROUNDS=1 -DDEATHS=1 -DGIVEUPS=1
 * config: -DROUNDS=1 -DDEATHS=2 -DGIVEUPS=0
 * config: -DROUNDS=2 -DDEATHS=0 -DGIVEUPS=3
 * config: -DROUNDS=1 -DDEATHS=1 -DGIVEUPS=1 -DPAIR
 * config: -DROUNDS=2 -DDEATHS=0 -DGIVEUPS=1 -DPAIR
 * quick: -DROUNDS=1 -DDEATHS=1 -DGIVEUPS=1
 * ci: -DROUNDS=2 -DDEATHS=1 -DGIVEUPS=1
 * no-cycle: -DROUNDS=1 -DDEATHS=1 -DGIVEUPS=1
 *
 * must-fail: -DSELF -DROUNDS=1 -DDEATHS=0 -DGIVEUPS=0   whoever sees the cycle gives up
 * must-fail: -DNO_SEQUENCE -DROUNDS=2 -DDEATHS=0 -DGIVEUPS=3   edges without a sequence
 * must-fail: -DNO_SECOND -DROUNDS=1 -DDEATHS=0 -DGIVEUPS=1   no second pass
 * must-fail: -DNO_LIVENESS -DROUNDS=1 -DDEATHS=1 -DGIVEUPS=0   does not look who is dead
 */
#define N 3
#define POKED 4
#define WANTS(x) (((x) & 3) - 1)
#define OWNER(x) (((x) & 3) - 1)	/* of a lock's word: {owner + 1, token} */
#ifdef PAIR
#define TARGET (me == 0 -> 1 : 0)
#else
#define TARGET ((me + 1) % N)
#endif
#ifdef NO_SEQUENCE
#define SEQUENCE 0
#else
#define SEQUENCE (round << 3)
#endif

byte lock[N];			/* {owner + 1, token} */
byte edge[N];			/* {wants + 1, POKED, sequence} */
bit dead[N], kill[N];
byte deaths, giveups;
bit waits[N];			/* ghost: really waits, */
byte cycle[N];			/* and is or was in this cycle during this wait */
byte cycles;			/* ghost: cycles there were */
byte victims;			/* ghost: bit c: cycle c has its victim */

/* The ghosts' own walk, in one step: does my new edge close a cycle of living waiters? Who is
 * killed lives until its liveness word is marked: nobody can tell earlier. */
inline look_for_cycle()
{
	x = me; n = 0;
	do
	:: n < N && waits[x] && (lock[WANTS(edge[x])] & 3) ->
		x = OWNER(lock[WANTS(edge[x])]); n++;
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
		:: n -> cycle[x] = cycles; x = OWNER(lock[WANTS(edge[x])]); n--
		:: else -> break
		od
	:: else
	fi;
	x = 0; n = 0
}

proctype Waiter(byte me)
{
	byte round;		/* waits so far: also the sequence */
	byte o, w, x, n, top;
	byte owners[N], edges[N];
	bit pass;

	{
	do
	:: atomic { round < ROUNDS -> round++ }
publish:	atomic {
			edge[me] = (TARGET + 1) | SEQUENCE;
			waits[me] = 1; cycle[me] = 0;
			d_step { look_for_cycle() }
		}
walk:		atomic { w = TARGET; n = 0; top = me }
		do
		:: atomic { !pass && n < N -> o = lock[w]; owners[n] = o; x = OWNER(o) }
first:			if
			:: atomic { o == 0 || (o & 3) == 0 -> goto rest }
			:: atomic { x == me ->
#ifdef NO_SECOND
				goto poke
#else
				pass = 1; w = TARGET; n = 0; x = 0
#endif
				}
			:: atomic { (o & 3) && x != me ->
				edges[n] = edge[x];
				if
				:: (edges[n] & 3) == 0 || (edges[n] & POKED) -> goto rest
				:: else
				fi;
				w = WANTS(edges[n]); top = (x > top -> x : top); n++; x = 0 }
			fi
		:: atomic { pass -> x = OWNER(owners[n]) }
second:			if
			:: atomic { lock[w] != owners[n] -> goto rest }
			:: atomic { else }
			fi;
			if
			:: atomic { x == me -> goto poke }
			:: atomic { x != me && edge[x] != edges[n] -> goto rest }
			:: atomic { x != me && edge[x] == edges[n] -> skip }
#ifndef NO_LIVENESS
				if
				:: dead[x] -> goto rest
				:: !dead[x]
				fi;
#endif
				atomic { w = WANTS(edges[n]); n++; x = 0 }
			fi
		:: atomic { !pass && n == N -> goto rest }
		od;
poke:
#ifdef SELF
		goto poked;
#else
		atomic {
			if
			:: top == me ->
				if
				:: edge[me] == ((TARGET + 1) | SEQUENCE) ->
					edge[me] = edge[me] | POKED
				:: else
				fi
			:: else ->
				n = 0;
				do
				:: OWNER(owners[n]) == top -> break
				:: else -> n++
				od;
				if
				:: edge[top] == edges[n] -> edge[top] = edge[top] | POKED
				:: else
				fi
			fi
		}
#endif
rest:		atomic {
			owners[0] = 0; owners[1] = 0; owners[2] = 0;
			edges[0] = 0; edges[1] = 0; edges[2] = 0;
			w = 0; x = 0; n = 0; top = 0; pass = 0
		}
		atomic { o = lock[TARGET] }
		if
		:: atomic { (o & 3) == 0 ->
			if
			:: lock[TARGET] == o ->
				lock[TARGET] = (me + 1) | ((o >> 2) + 1 << 2);
				waits[me] = 0
			:: else -> goto rest
			fi }
			atomic { edge[me] = 0; o = 0 }
			atomic { lock[TARGET] = lock[TARGET] & ~3 }
		:: atomic { o & 3 }
			/* futex_waitv on {lock word, own edge, owner's liveness} */
			if
			:: atomic { edge[me] & POKED -> goto poked }
			:: atomic { lock[TARGET] != o -> goto rest }
			:: atomic { dead[OWNER(o)] ->
				if
				:: lock[TARGET] == o -> lock[TARGET] = o & ~3
				:: else
				fi; goto rest }
			:: atomic { giveups < GIVEUPS -> giveups++; o = 0 }
				atomic { edge[me] = 0; waits[me] = 0 }	/* this is the moment */
			fi
		fi;
		goto again;
poked:		atomic {
			assert(cycle[me]);
			assert(!((victims >> cycle[me]) & 1));
			victims = victims | (1 << cycle[me]);
			waits[me] = 0; edge[me] = 0; o = 0; w = 0; x = 0; n = 0; top = 0; pass = 0
		}
		break;
again:		skip
	:: break
	od;
	lock[me] = lock[me] & ~3
	} unless {
		d_step {
			kill[me] ->
			owners[0] = 0; owners[1] = 0; owners[2] = 0;
			edges[0] = 0; edges[1] = 0; edges[2] = 0;
			round = 0; o = 0; w = 0; x = 0; n = 0; top = 0; pass = 0
		}
		atomic { dead[me] = 1; waits[me] = 0 }
	}
}

#if DEATHS
active proctype Killer()
{
	do
	:: atomic {
		deaths < DEATHS -> deaths++;
		if
		:: !kill[0] -> kill[0] = 1
		:: !kill[1] -> kill[1] = 1
		:: !kill[2] -> kill[2] = 1
		fi
	   }
	:: break
	od
}
#endif

init {
	atomic {
		lock[0] = 1; lock[1] = 2; lock[2] = 3;
		run Waiter(0); run Waiter(1); run Waiter(2)
	}
}
