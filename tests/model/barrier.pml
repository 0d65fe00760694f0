/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A barrier: arriving, completing, withdrawing, joining; parties that die at any step, with both
 * policies.
 *
 * Abstracted: place p is process p's. A place's CAS of the exact word is one step that looks whether
 * the place is still what it was; the sequence that makes it exact is not modelled, the epoch is.
 * Lease slots and incarnations are lease.pml's: whoever looks sees that a process is dead once its
 * liveness word is marked. Killed at a step, a process does nothing more; its word is marked some
 * time later, and until then the kernel may choose it for a wake. The mark wakes one sleeper that is
 * armed on it. There is no backstop.
 *
 * Labels (docs/protocol/barrier.md): arrive 1 place → ARRIVED; look 2 load the word; scan 3 the
 * places, then the lives; complete 4 CAS the word, then wake; learnt 4b of it: wake,
 * as who completed it may have died before; arm 5 those after me, up to the first
 * that has arrived; sleep 6; told 7 of a death: wake all; withdraw 8 place, then epoch; drop 9 a
 * lost party: break the word, then the place, or the place, then the epoch; join 10 JOINING, epoch
 * and wake, member.
 *
 * Shown by assertions at complete: no phase is complete while a living member of it does not wait
 * in it; and each has one leader. By absence of invalid end states: nobody sleeps for ever.
 *
 * config: -DN=3 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=0
 * config: -DN=3 -DDEATHS=1 -DGIVEUPS=0 -DSHRINK=1
 * config: -DN=2 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=1 -DROUNDS=2
 * config: -DN=2 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=0 -DJOINER=1
 * quick: -DN=3 -DDEATHS=1 -DGIVEUPS=0 -DSHRINK=1
 * quick: -DN=2 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=0 -DJOINER=1
 * ci: -DN=3 -DDEATHS=1 -DGIVEUPS=1 -DSHRINK=1
 * ci: -DN=3 -DDEATHS=1 -DGIVEUPS=2 -DSHRINK=1
 *
 * must-fail: -DNO_EPOCH -DN=2 -DDEATHS=0 -DGIVEUPS=1 -DSHRINK=0   withdrawing counts no epoch up
 * must-fail: -DEPOCH_FIRST -DN=2 -DDEATHS=0 -DGIVEUPS=1 -DSHRINK=0   withdrawing: epoch before place
 * must-fail: -DNO_TELL -DN=3 -DDEATHS=1 -DGIVEUPS=0 -DSHRINK=1   told of a death, wakes no others
 * must-fail: -DNO_WAKE -DN=3 -DDEATHS=1 -DGIVEUPS=0 -DSHRINK=1   completed without a party, wakes nobody
 * must-fail: -DNO_PASS -DN=3 -DDEATHS=1 -DGIVEUPS=0 -DSHRINK=0   learns of it, passes nothing on
 * must-fail: -DNO_CHAIN -DN=3 -DDEATHS=2 -DGIVEUPS=0 -DSHRINK=0   watches only those that have not arrived
 * must-fail: -DJOIN_LATE -DN=2 -DDEATHS=1 -DGIVEUPS=0 -DSHRINK=0 -DJOINER=1   joins without a wake
 */
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef JOINER
#define JOINER 9
#endif

#define EMPTY 0
#define MEMBER 1
#define JOINING 2
#define SHRUNK 3
#define LOST 4

byte phase, epoch;		/* the word */
bit broken;
byte place[N], arrived[N];	/* its kind; the phase arrived at */
bit dead[N], kill[N], asleep[N];
byte armed[N];			/* lives that a sleeper is armed on, as bits */
byte deaths, giveups;
byte waits[N];			/* ghost: waits in this phase, for all others can tell */
byte leaders;			/* ghost: of the latest phase */

#if JOINER < N /* who was to join is no more: the others wait for ever, and rightly */
#define NEVER_JOINED (dead[JOINER] && (place[JOINER] == EMPTY || place[JOINER] == JOINING))
#else
#define NEVER_JOINED false
#endif
#define OWNED(t) (place[t] == MEMBER || place[t] == JOINING)
#define SAME (wp == phase && we == epoch && wb == broken)

inline wake_word()
{
	d_step {
		n = 0;
		do
		:: n < N -> asleep[n] = 0; n++
		:: else -> break
		od;
		n = 0
	}
}

inline bump()
{
	atomic {
		if
		:: !broken -> epoch++
		:: else
		fi
	};
	wake_word()
}

/* Places never come back to a process that is dead, so dropping is exact without a sequence. */
inline drop(t)
{
#if SHRINK
	atomic {
		if
		:: OWNED(t) -> place[t] = (place[t] == JOINING -> EMPTY : SHRUNK); arrived[t] = 0
		:: else
		fi
	};
	bump()
#else
	atomic {
		if
		:: place[t] == MEMBER && !broken -> broken = 1
		:: else
		fi
	};
	atomic {
		if
		:: OWNED(t) -> place[t] = (place[t] == JOINING -> EMPTY : LOST); arrived[t] = 0
		:: else
		fi
	};
	bump()
#endif
}

/* The word said wp, and all places were seen. */
inline check_complete()
{
	n = 0;
	do
	:: n < N ->
		assert(n == me || place[n] != MEMBER || dead[n] || kill[n] || waits[n] == phase + 1);
		n++
	:: else -> break
	od;
	n = 0; leaders = 0
}

proctype Party(byte me)
{
	byte round, goal, wp, we, i, t, n, lives;
	bit wb;

	{
	if
	:: me == JOINER ->
join:		place[me] = JOINING;
#ifdef JOIN_LATE
		atomic { !broken -> epoch++ };
#else
		bump();
#endif
		atomic {
			if
			:: place[me] == JOINING -> place[me] = MEMBER
			:: else -> goto over
			fi
		}
	:: else
	fi;
	do
	:: round == ROUNDS -> break
	:: else ->
again:		atomic { goal = phase + 1;
			if
			:: broken -> goto over
			:: else
			fi }
arrive:		atomic {
			if
			:: place[me] == MEMBER -> arrived[me] = goal; waits[me] = goal
			:: else -> goto over
			fi }
look:		atomic { wp = phase; we = epoch; wb = broken; i = 1; lives = 0; t = 0;
			if
			:: wp >= goal -> goto learnt
			:: wp < goal && wb -> goto withdraw
			:: else
			fi }
scan:		do
		:: atomic { i < N -> t = (me + i) % N;
			if
			:: place[t] == LOST -> broken = 1; goto look
			:: place[t] == EMPTY || (OWNED(t) && arrived[t] != goal) -> i = 1; goto missing
			:: else -> i++
			fi }
		:: atomic { i == N -> i = 1; break }
		od;
		do
		:: atomic { i < N -> t = (me + i) % N; i++ };
			if
			:: OWNED(t) && dead[t] -> drop(t); goto look
			:: else
			fi
		:: atomic { i == N -> break }
		od;
complete:	atomic {
			if
			:: SAME -> d_step { check_complete() }; phase++; leaders++;
				assert(leaders == 1)
			:: else -> goto look
			fi }
#ifndef NO_WAKE
		wake_word();
#endif
		goto passed;
learnt:
#ifndef NO_PASS
		wake_word();
#endif
		goto passed;
missing:	if
		:: atomic { giveups < GIVEUPS -> giveups++; goto withdraw }
		:: skip
		fi;
arm:		do
		:: atomic { i < N -> t = (me + i) % N; i++ };
			if
			:: atomic { OWNED(t) && dead[t] }; drop(t); goto look
			:: atomic { OWNED(t) && !dead[t] ->
#ifdef NO_CHAIN
				if
				:: arrived[t] != goal -> lives = lives | (1 << t)
				:: else
				fi
#else
				lives = lives | (1 << t);
				if
				:: place[t] == MEMBER && arrived[t] == goal -> i = N
				:: else
				fi
#endif
				}
			:: atomic { !OWNED(t) }
			fi
		:: atomic { i == N -> break }
		od;
sleep:		atomic {
			n = 0;
			do
			:: n < N && !((lives >> n) & 1 && dead[n]) -> n++
			:: else -> break
			od;
			if
			:: !SAME || n < N -> n = 0; goto look
			:: else -> n = 0; armed[me] = lives; asleep[me] = 1
			fi }
		atomic {
			if
			:: !asleep[me]
			:: asleep[me] && NEVER_JOINED -> goto over
			fi;
			armed[me] = 0; i = 0 };
#ifndef NO_TELL
told:		do
		:: atomic { i < N && ((lives >> i) & 1) && dead[i] ->
			d_step {
				n = 0;
				do
				:: n < N ->
					if
					:: (armed[n] >> i) & 1 -> asleep[n] = 0
					:: else
					fi;
					n++
				:: else -> break
				od;
				n = 0
			} };
			wake_word();
			i++
		:: atomic { i < N && !(((lives >> i) & 1) && dead[i]) -> i++ }
		:: atomic { i == N -> break }
		od;
#endif
		goto look;
withdraw:
#ifdef EPOCH_FIRST
		atomic {
			if
			:: phase >= goal -> goto passed
			:: else -> epoch++
			fi };
		atomic { arrived[me] = 0; waits[me] = 0 };
#else
		atomic {
			if
			:: place[me] == MEMBER -> arrived[me] = 0
			:: else -> goto over
			fi };
		atomic {
			if
			:: phase >= goal -> goto learnt
			:: phase < goal && broken -> waits[me] = 0
			:: else -> waits[me] = 0;
#ifndef NO_EPOCH
				epoch++
#endif
			fi };
#endif
		wake_word();
		goto again;
passed:		atomic { waits[me] = 0; round++ }
	od;
over:	skip;
	/* Its lease lives on, it misses the phases of others: so it leaves, or breaks nothing more. */
	atomic {
		if
		:: place[me] == MEMBER && round == ROUNDS -> skip
		:: else
		fi }
	} unless {
		atomic { kill[me] ->
			dead[me] = 1; asleep[me] = 0; armed[me] = 0; i = 0; n = 0; t = 0; lives = 0 };
		/* the kernel wakes one of those who are armed on it */
		atomic {
			if
			:: asleep[0] && (armed[0] >> me) & 1 -> asleep[0] = 0
			:: asleep[1] && (armed[1] >> me) & 1 -> asleep[1] = 0
#if N > 2
			:: asleep[2] && (armed[2] >> me) & 1 -> asleep[2] = 0
#endif
			:: else
			fi }
	}
}

proctype Killer()
{
	byte i;

	do
	:: atomic { deaths < DEATHS && i < N -> 
		if
		:: kill[i] = 1; deaths++
		:: skip
		fi;
		i++ }
	:: atomic { deaths == DEATHS || i == N -> break }
	od
}

init
{
	byte i;

	atomic {
		do
		:: i < N -> place[i] = (i == JOINER -> EMPTY : MEMBER); run Party(i); i++
		:: else -> break
		od;
		run Killer()
	}
}
