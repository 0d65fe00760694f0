/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Once: initialisers that fail, die, or are stopped until they have expired, at any step; slots and
 * their tags.
 *
 * Abstracted: process p has one lease, p. One process may expire (EXPIRES): from that moment on others
 * may take what it holds, and it goes on as if it knew nothing until it looks at the word; it may
 * stand still at any step for as long as it likes. Its slot stays quarantined: it never ends. The
 * word has a token, so that its CAS is exact. A value is two halves, written one after the other, in
 * a slot of two. A sleeper is armed on the owner's life, and wakes at its expiry. No backstop.
 *
 * Labels (docs/protocol/once.md): take 1; init 2 fails or not; tag 3; recheck 4; copy 5; publish 6;
 * wake 7; fail 8 gives back, wakes; sleep 9; told 10; reap 11.
 *
 * Shown by assertions: who runs the initialiser is told of nobody else's value; once it is done, the
 * published slot is whole, of the one who published, and stays so. By absence of invalid end states:
 * nobody sleeps for ever.
 *
 * config: -DN=3 -DDEATHS=1 -DFAILS=1
 * config: -DN=3 -DDEATHS=0 -DFAILS=1 -DEXPIRES=1
 * config: -DN=2 -DDEATHS=1 -DFAILS=1 -DEXPIRES=1
 * quick: -DN=3 -DDEATHS=1 -DFAILS=0
 * quick: -DN=2 -DDEATHS=1 -DFAILS=1 -DEXPIRES=1
 * ci: -DN=3 -DDEATHS=1 -DFAILS=1 -DEXPIRES=1
 *
 * must-fail: -DNO_RECHECK -DN=2 -DDEATHS=0 -DFAILS=0 -DEXPIRES=1   publishes without looking whose it is
 * must-fail: -DNO_TAG -DN=2 -DDEATHS=0 -DFAILS=0 -DEXPIRES=1   writes a slot that it has not tagged
 * must-fail: -DLOOK_FIRST -DN=2 -DDEATHS=1 -DFAILS=0 -DEXPIRES=1   looks at the word before the tag only
 * must-fail: -DNO_WAKE -DN=2 -DDEATHS=0 -DFAILS=1   a failed one wakes nobody
 * must-fail: -DNO_TELL -DN=3 -DDEATHS=1 -DFAILS=0   told of a death, wakes no others
 */
#ifndef EXPIRES
#define EXPIRES 0
#endif
#define SLOTS 2
#define ABSENT 255
#define NOBODY 255

byte owner = ABSENT;		/* the word: who runs it, */
byte token;			/* how many attempts were made, */
bit done;			/* whether it is done, */
byte chosen;			/* and where the value is */
byte tag[SLOTS];		/* process + 1 */
byte low[SLOTS], high[SLOTS];	/* the value: process + 1, twice */
bit dead[N], kill[N], expired[N], asleep[N];
byte armed[N];			/* process + 1 */
byte deaths, fails, expiries;

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

#define WHOLE (low[chosen] == high[chosen] && low[chosen] != 0)

proctype Caller(byte me)
{
	byte o, t, s, n;

	{
	skip;
look:	atomic { o = owner; t = token; s = 0;
		if
		:: done -> goto over
		:: !done && o == ABSENT -> goto take
		:: else
		fi };
reap:	if
	:: atomic { dead[o] || expired[o] };
		atomic {
			if
			:: owner == o && token == t && !done -> owner = ABSENT
			:: else
			fi };
		wake_word();
		goto look
	:: atomic { !(dead[o] || expired[o]) }
	fi;
sleep:	atomic {
		if
		:: owner != o || token != t || done || dead[o] || expired[o] -> goto look
		:: else -> armed[me] = o + 1; asleep[me] = 1
		fi };
	/* awake by a wake, or at the expiry of the one it is armed on */
	atomic {
		if
		:: !asleep[me]
		:: asleep[me] && armed[me] && expired[armed[me] - 1] -> asleep[me] = 0
		fi };
#ifndef NO_TELL
told:	if
	:: atomic { dead[o] ->
		d_step {
			n = 0;
			do
			:: n < N ->
				if
				:: armed[n] == o + 1 -> asleep[n] = 0
				:: else
				fi;
				n++
			:: else -> break
			od;
			n = 0
		} }
	:: atomic { !dead[o] }
	fi;
#endif
	armed[me] = 0;
	goto look;
take:	atomic {
		if
		:: owner == ABSENT && token == t && !done -> owner = me; token++; t = token
		:: else -> goto look
		fi };
	if
	:: atomic { fails < FAILS -> fails++; goto fail }
	:: skip
	fi;
#ifdef LOOK_FIRST
	if
	:: atomic { owner != me || token != t || done -> goto over }
	:: else
	fi;
#endif
#ifndef NO_TAG
tagging: do
	:: atomic { s < SLOTS && (tag[s] == 0 || tag[s] == me + 1 || dead[tag[s] - 1]) ->
		tag[s] = me + 1; break }
	:: atomic { s < SLOTS && !(tag[s] == 0 || tag[s] == me + 1 || dead[tag[s] - 1]) -> s++ }
	:: atomic { s == SLOTS -> goto fail } /* waits for a slot: here it gives up */
	od;
#else
	s = 0;
#endif
#ifndef LOOK_FIRST
#ifndef NO_RECHECK
recheck: if
	:: atomic { owner != me || token != t || done -> goto over }
	:: atomic { !(owner != me || token != t || done) }
	fi;
#endif
#endif
copy:	low[s] = me + 1;
	high[s] = me + 1;
publish: atomic {
		if
#ifdef NO_RECHECK
		:: true ->
#else
		:: owner == me && token == t && !done ->
#endif
			assert(!done);
			done = 1; owner = ABSENT; chosen = s;
			assert(WHOLE && low[s] == me + 1)
		:: else -> goto over
		fi };
	wake_word();
	goto over;
fail:	atomic {
		if
		:: owner == me && token == t && !done -> owner = ABSENT
		:: else -> goto over
		fi };
#ifndef NO_WAKE
	wake_word();
#endif
over:	skip
	} unless {
		atomic { kill[me] -> dead[me] = 1; asleep[me] = 0; armed[me] = 0; n = 0; s = 0; o = 0 };
		atomic {
			if
			:: asleep[0] && armed[0] == me + 1 -> asleep[0] = 0
			:: asleep[1] && armed[1] == me + 1 -> asleep[1] = 0
#if N > 2
			:: asleep[2] && armed[2] == me + 1 -> asleep[2] = 0
#endif
			:: else
			fi }
	}
}

proctype Fate()
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

proctype Clock()
{
	if
	:: atomic { EXPIRES -> expired[0] = 1 }
	:: skip
	fi
}

/* Once done, the value is whole at every moment. */
proctype Reader()
{
	byte value;

	skip;
end:	atomic { done -> value = low[chosen]; assert(WHOLE) };
	atomic { assert(WHOLE && low[chosen] == value) }
}

init
{
	byte i;

	atomic {
		do
		:: i < N -> run Caller(i); i++
		:: else -> break
		od;
		run Fate();
		run Clock();
		run Reader()
	}
}
