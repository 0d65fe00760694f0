/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owner entries and lease slots: claim, renew, expire, lock, unlock, release, reap; with death of
 * an owner or of a reaper at any step. A stop is a process that takes no step for as long as it
 * likes, then goes on anywhere: every interleaving has it.
 *
 * Abstracted: one object, so a hold table is one record {object, incarnation}; every lease has a
 * TTL (who never expires is the run in which the clock stands still); nobody sleeps (mutex.pml); a
 * lock that is held is not waited for. The clock ticks at any moment. Sequentially consistent:
 * every step here that must be seen in order is a CAS or is followed by one.
 *
 * Labels (docs/protocol.md, Lease): claim 1 the owner entry: reap, lock the word, generation, tid;
 * then the lease slot: owner ref, then state; record, check, cas, recheck 2 lock an object;
 * renew and theft (in reap) 3; unlock 4; release 5, bury 5 if it was lost; reap 6: latch, object,
 * record, slot, owner ref.
 * An owner is taken for dead when the entry's generation is not the ref's, or the word is not the
 * tid stored with that generation. (With `word is 0 or OWNER_DIED` instead, -DNO_TID, one who
 * locked a dead entry's word and did not count up the generation yet makes the dead look alive:
 * nobody would be woken again on that word.)
 *
 * Shown by assertions: G1 at most one live grant (recheck); G2 who is judged alive is alive
 * (judge), and nothing is stranded: when all have ended, one walk by anybody finds or makes all
 * free (init); G3 no theft before expiry (the exact CAS in reap); G4 no grant by a CAS made after
 * loss (recheck), a live lease loses nothing (unlock); G5 tokens rise (recheck); no slot reused
 * while the object names it (at FREE -> LIVE); a late reaper or zombie frees
 * nothing of the slot's next tenant (truth).
 *
 * TWO is the mask of processes that take two leases, ROUNDS how often each comes back, OPS how
 * many times it locks or renews each time, NOW how far the clock goes, AFRESH how often one that
 * buried a lost lease takes another under the same owner.
 *
 * config: -DPROCS=2 -DDEATHS=1 -DTWO=2
 * config: -DPROCS=2 -DDEATHS=2 -DTWO=6
 * config: -DPROCS=2 -DDEATHS=0 -DROUNDS=2
 * config: -DPROCS=2 -DDEATHS=1 -DTWO=2 -DAFRESH=1 -DOPS=0
 * config: -DPROCS=3 -DDEATHS=1 -DOPS=0 -DNOW=0
 * quick: -DPROCS=2 -DDEATHS=1
 * ci: -DPROCS=2 -DDEATHS=1 -DOPS=2 -DTWO=2
 * ci: -DPROCS=3 -DDEATHS=2 -DOPS=0 -DNOW=0
 *
 * must-fail: -DREUSE -DPROCS=2 -DDEATHS=1   slot free before its table is empty
 * must-fail: -DBLIND -DPROCS=2 -DDEATHS=0 -DOPS=2   theft by a store, not by a CAS with expiry
 * must-fail: -DEARLY -DPROCS=2 -DDEATHS=2   record cleared before the object
 * must-fail: -DNO_QUARANTINE -DPROCS=2 -DDEATHS=1   reaper clears records of an EXPIRED lease
 * must-fail: -DNO_RECHECK -DPROCS=2 -DDEATHS=0   state not looked at again after the CAS
 * must-fail: -DNO_INC -DPROCS=2 -DDEATHS=0 -DROUNDS=2   reaper does not confirm the incarnation
 * must-fail: -DNO_TID -DPROCS=3 -DDEATHS=1 -DOPS=0 -DNOW=0   alive by any tid in the word
 * must-fail: -DHASTY -DPROCS=2 -DDEATHS=0 -DTWO=2 -DAFRESH=1 -DOPS=0   reaper clears the living's owner ref
 * must-fail: -DTRUSTING -DPROCS=2 -DDEATHS=1 -DTWO=2 -DAFRESH=1 -DOPS=0   state not looked at after the owner's death
 */
#ifndef ENTRIES
#define ENTRIES 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef OPS
#define OPS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef TWO
#define TWO 0
#endif
#ifndef AFRESH
#define AFRESH 0
#endif
#ifndef NOW
#define NOW 1
#endif

#define FREE 0
#define LIVE 1
#define EXPIRED 2
#define DEAD 3
#define DIED 7
#define STATE(v) ((v) & 3)
#define INC(v) (((v) >> 2) & 7)
#define EXPIRY(v) ((v) >> 5)
#define WORD(state, inc, expiry) ((state) | ((inc) << 2) | ((expiry) << 5))
#define REF(e, g) (((e) + 1) | ((g) << 2))
#define ENTRY(r) (((r) & 3) - 1)
#define GENERATION(r) ((r) >> 2)
#define HOLDER(o) ((o) & 3)		/* slot + 1 */
#define TOKEN(o) ((o) >> 2)
#define IS(s, state, inc) ((st[s] & 31) == WORD(state, inc, 0))

byte word[ENTRIES];		/* robust mutex: 0, tid or DIED */
byte generation[ENTRIES], tid[ENTRIES];
byte ref[SLOTS];		/* owner ref: 0 or {entry, generation} */
byte st[SLOTS];			/* {state, incarnation, expiry} */
byte rec[SLOTS];		/* the hold record: 0 or the incarnation */
byte object;			/* {slot + 1, token} */
byte now;
bit kill[PROCS + 1];
byte deaths, ended;
byte truth;			/* ghost: incarnation of the lease that took the object */
byte granted;			/* ghost: {slot + 1, incarnation} that was told it holds */
byte token;			/* ghost: last token granted */
byte lost[ENTRIES];		/* ghost: bit g: who claimed generation g was killed */

/* dead = whether the owner of ref x has ended; generation, tid, generation read as one */
inline judge(s, x)
{
	if
	:: atomic { generation[ENTRY(x)] != GENERATION(x) -> dead = 1 }
	:: atomic { else -> t = tid[ENTRY(x)] }
		atomic {
#ifdef NO_TID
			dead = (word[ENTRY(x)] == 0 || word[ENTRY(x)] == DIED);
#else
			dead = (word[ENTRY(x)] != t);
#endif
			assert(dead || ref[s] != x || !((lost[ENTRY(x)] >> GENERATION(x)) & 1));
			t = 0
		}
	fi
}

/* CAS of slot s from v to `to`; v = `to` if it was made, else 0 (FREE: nothing to do) */
inline latch(s, to)
{
	if
	:: st[s] == v -> v = to; st[s] = v
	:: else -> v = 0
	fi
}

inline unref(s)
{
	if
	:: ref[s] == r -> ref[s] = 0
	:: else
	fi
}

/* CAS of the object from w to free, on behalf of incarnation i, which must be who really took it */
inline release_object(i)
{
	if
	:: object == w -> assert(truth == (i)); object = TOKEN(w) << 2; truth = 0
	:: else
	fi
}

#ifdef NO_INC
#define STILL(s) true
#else
#define STILL(s) (st[s] == v)
#endif
#ifdef NO_QUARANTINE
#define CLEARS(v) true
#else
#define CLEARS(v) (STATE(v) == DEAD)
#endif

/* Walks slot s if its lease is lost, and frees what it held. */
inline reap(s)
{
	v = st[s];
	atomic { r = ref[s]; if :: !r -> v = 0 :: else fi }
	if
	:: r -> judge(s, r)
	:: else
	fi;
	if
	:: atomic { r && dead && STATE(v) == FREE -> v = st[s] }	/* again, after the death */
		if
		:: atomic { STATE(v) == FREE -> v = 0; unref(s) }
		:: atomic { else -> v = 0 }
		fi
	:: atomic { dead && (STATE(v) == LIVE || STATE(v) == EXPIRED) ->
			latch(s, WORD(DEAD, INC(v), 0)) }
	:: atomic { !dead && STATE(v) == LIVE ->
			if
			:: EXPIRY(v) >= now -> v = 0
			:: else
			fi }
		if
		:: atomic { v ->
#ifdef BLIND
			assert(STATE(st[s]) != LIVE || EXPIRY(st[s]) < now);
			v = WORD(EXPIRED, INC(v), 0); st[s] = v
#else
			latch(s, WORD(EXPIRED, INC(v), 0))
#endif
		   }
		:: atomic { else }
		fi
	:: atomic { else -> if :: STATE(v) == FREE -> v = 0 :: else fi }
	fi;
	if
	:: atomic { v -> dead = (rec[s] == INC(v)) }
#ifdef REUSE
		if
		:: atomic { STATE(v) == DEAD ->
				w = v; latch(s, WORD(FREE, INC(v), 0)); v = w; w = 0 }
			atomic { unref(s) }
		:: atomic { else }
		fi;
#endif
#ifdef EARLY
		if
		:: atomic { dead && STATE(v) == DEAD && rec[s] == INC(v) -> rec[s] = 0 }
		:: atomic { else }
		fi;
#endif
		if
		:: atomic { dead -> w = object; if :: HOLDER(w) != (s) + 1 -> w = 0 :: else fi }
			if
			:: atomic { w -> if :: STILL(s) :: else -> w = 0 fi }
				if
				:: atomic { w -> release_object(INC(v)); w = 0 }
				:: atomic { else }
				fi
			:: atomic { else }
			fi;
			if
			:: atomic { CLEARS(v) -> if :: rec[s] == INC(v) -> rec[s] = 0 :: else fi }
			:: atomic { else }
			fi
		:: atomic { else }
		fi;
		if
		:: atomic { STATE(v) == DEAD && rec[s] == 0 -> dead = 1 }
			atomic { latch(s, WORD(FREE, INC(v), 0)) }
			if
#ifdef HASTY
			:: atomic { v -> unref(s) }
#else
			:: v -> judge(s, r);
				if
#ifdef TRUSTING
				:: atomic { dead -> v = 0 }
#else
				:: atomic { dead -> v = STATE(st[s]) }
#endif
				:: atomic { else -> v = DEAD }
				fi;
				if
				:: atomic { v == FREE -> unref(s) }
				:: atomic { else }
				fi
#endif
			:: atomic { else }
			fi
		:: atomic { else }
		fi
	:: atomic { else }
	fi;
	atomic { v = 0; r = 0; w = 0; dead = 0 }
}

proctype Owner(byte me)
{
	byte n, round, afresh;	/* operations in this round; rounds; slots taken again */
	byte e, g;		/* my entry + 1 and its generation */
	byte slot[2], inc[2];	/* my leases: slot + 1, incarnation */
	byte held;		/* the object's word as I took it, while I hold it, */
	bit with;		/* with this one of my leases */
	bit l, dead, late;
	byte v, r, w, t, s;

	{
	do
	:: atomic { round < ROUNDS -> round++; n = 0 }
		/* claim: a free or a dead owner entry */
		do
		:: atomic { s == ENTRIES -> goto over }
		:: atomic { s < ENTRIES && (word[s] == 0 || word[s] == DIED) ->
				e = s; g = generation[s]; s = 0 }
			do
			:: atomic { s < SLOTS && ref[s] != REF(e, g) -> s++ }
			:: s < SLOTS && ref[s] == REF(e, g) -> reap(s); s++
			:: atomic { s == SLOTS -> s = e; e = 0; g = 0; break }
			od;
			if
			:: atomic { word[s] == 0 || word[s] == DIED -> word[s] = me }
				atomic { generation[s]++; e = s + 1; g = generation[s] }
				atomic { tid[s] = me; s = 0 }
				break
			:: atomic { else -> s++ }
			fi
		:: atomic { s < ENTRIES && word[s] != 0 && word[s] != DIED -> s++ }
		od;
slots:		/* slot: one or two leases, each the first that is free or can be made free */
		do
		:: atomic { s == SLOTS || slot[1] || (slot[0] && !((TWO >> me) & 1)) ->
				s = 0; break }
		:: s < SLOTS && !slot[1] && !(slot[0] && !((TWO >> me) & 1)) ->
			if
			:: ref[s] != 0 && ref[s] != REF(e - 1, g) -> reap(s)
			:: else
			fi;
			if
			:: atomic { ref[s] == 0 -> ref[s] = REF(e - 1, g) }
				atomic {
					v = st[s];
					l = (slot[0] != 0);
					assert(STATE(v) == FREE && rec[s] == 0);
					assert(HOLDER(object) != s + 1);
					inc[l] = INC(v) + 1;
					st[s] = WORD(LIVE, inc[l], now);
					slot[l] = s + 1; v = 0; l = 0; s++
				}
			:: atomic { else -> s++ }
			fi
		od;
		do
		:: atomic { n < OPS && !held && slot[0] -> n++; l = 0; goto record }
		:: atomic { n < OPS && !held && slot[1] -> n++; l = 1; goto record }
		:: atomic { n < OPS && slot[0] -> n++; v = st[slot[0] - 1]; goto renew }
		:: atomic { held -> goto unlock }
		:: atomic { !held && slot[1] -> l = 1; goto release }
		:: atomic { !held && slot[0] && !slot[1] -> l = 0; goto release }
		:: atomic { !held && !slot[0] && !slot[1] -> goto last }

record:			atomic { rec[slot[l] - 1] = inc[l] }
check:			if
			:: IS(slot[l] - 1, LIVE, inc[l])
			:: else -> goto no
			fi;
			atomic { w = object; s = HOLDER(w) }
			if
			:: atomic { s -> s--; w = 0 }
				reap(s);
				atomic { w = object; s = 0; if :: HOLDER(w) -> goto no :: else fi }
			:: atomic { else }
			fi;
cas:			atomic {
				if
				:: object == w ->
					object = slot[l] | ((TOKEN(w) + 1) << 2);
					w = object; truth = inc[l];
					late = !IS(slot[l] - 1, LIVE, inc[l])
				:: else -> goto no
				fi
			}
recheck:		if
#ifdef NO_RECHECK
			:: atomic { true ->
#else
			:: atomic { IS(slot[l] - 1, LIVE, inc[l]) ->
#endif
				assert(!late);
				assert(!granted || !IS((granted & 3) - 1, LIVE, granted >> 2));
				assert(TOKEN(w) > token);
				granted = slot[l] | (inc[l] << 2); token = TOKEN(w);
				held = w; with = l; w = 0; l = 0 }
				goto again
			:: atomic { else -> release_object(inc[l]) }
			fi;
no:			atomic { rec[slot[l] - 1] = 0; w = 0; l = 0; late = 0; s = 0 }
			goto again;

unlock:			atomic {
				if
				:: granted == (slot[with] | (inc[with] << 2)) -> granted = 0
				:: else
				fi;
				w = held;
				assert(object == w || !IS(slot[with] - 1, LIVE, inc[with]));
				release_object(inc[with]);
				held = 0; w = 0
			}
			atomic { rec[slot[with] - 1] = 0; with = 0; goto again }

renew:			if
			:: atomic { STATE(v) != LIVE -> v = 0; goto again }
			:: atomic { STATE(v) == LIVE && EXPIRY(v) >= now -> r = now + 1 }
				atomic { latch(slot[0] - 1, WORD(LIVE, INC(v), r)); v = 0; r = 0 }
				goto again
			:: atomic { STATE(v) == LIVE && EXPIRY(v) < now -> skip }
				atomic { latch(slot[0] - 1, WORD(EXPIRED, INC(v), 0)); v = 0 }
				goto again
			fi;

release:		atomic { v = st[slot[l] - 1]; assert(ref[slot[l] - 1] == REF(e - 1, g)) }
			atomic {
				assert(INC(v) == inc[l]);
				assert(STATE(v) == LIVE || STATE(v) == EXPIRED);
				if
				:: STATE(v) == LIVE && v == st[slot[l] - 1] ->
					st[slot[l] - 1] = WORD(FREE, inc[l], 0); v = 0
				:: STATE(v) == LIVE && EXPIRY(v) < now -> v = 1
				:: else -> v = 1
				fi
			}
			if
			:: atomic { v -> s = slot[l] - 1; goto bury }
			:: atomic { else }
			fi;
vacated:		atomic {
				s = slot[l] - 1; r = REF(e - 1, g); unref(s);
				slot[l] = 0; inc[l] = 0; l = 0; s = 0; r = 0; goto again
			}
			/* lost: as a reaper would, if it were dead */
bury:			atomic {
				v = st[s];
				assert(INC(v) == inc[l] && (STATE(v) == EXPIRED || STATE(v) == LIVE));
				v = 0; st[s] = WORD(DEAD, inc[l], 0)
			}
			reap(s);
			atomic { v = st[s]; if :: v == WORD(FREE, inc[l], 0) :: else -> goto gone fi }
			atomic { r = REF(e - 1, g); unref(s) }
gone:			atomic {
				v = 0; r = 0; s = 0; slot[l] = 0; inc[l] = 0;
				if
				:: afresh < AFRESH -> afresh++; l = 0; goto slots
				:: else -> l = 0; goto again
				fi
			}
again:			skip
		od;
last:		atomic { word[e - 1] = 0; e = 0; g = 0; n = 0; afresh = 0 }
	:: else -> break
	od;
over:	skip
	} unless {
		d_step {
			kill[me] ->
			if
			:: word[0] == me -> s = 0
#if ENTRIES > 1
			:: word[1] == me -> s = 1
#endif
			:: else -> s = ENTRIES
			fi;
			if
			:: s < ENTRIES -> word[s] = DIED
			:: else
			fi;
			if
			:: e && s < ENTRIES && g == generation[s] -> lost[s] = lost[s] | (1 << g)
			:: else
			fi;
			n = 0; round = 0; afresh = 0; e = 0; g = 0;
			slot[0] = 0; slot[1] = 0; inc[0] = 0; inc[1] = 0;
			held = 0; with = 0; l = 0; dead = 0; late = 0;
			v = 0; r = 0; w = 0; t = 0; s = 0
		}
	}
	ended++
}

active proctype Clock()
{
end:	do
	:: now < NOW -> now++
	od
}

#if DEATHS
active proctype Killer()
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

init {
	byte v, r, w, t, s;
	bit dead;

	atomic {
		run Owner(1); run Owner(2);
#if PROCS > 2
		run Owner(3)
#endif
	}
	atomic {
		ended == PROCS ->
		do
		:: s < SLOTS ->
			reap(s);
			assert(st[s] == WORD(FREE, INC(st[s]), 0));
			assert(ref[s] == 0 && rec[s] == 0);
			s++
		:: else -> break
		od;
		assert(HOLDER(object) == 0)
	}
}
