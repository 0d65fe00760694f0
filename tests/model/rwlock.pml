/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reader-writer lock: read, write, upgrade, with death and expiry at any step, under store buffers.
 *
 * Abstracted: one lock; one lease to an owner, its slot never used again (lease.pml has that); heirs,
 * as nobody waits for them but for a time; nested reads; every writer declares the data consistent;
 * whoever reaps is a waiter; a reaper frees and wakes, which is told again by no other.
 * Kernel: as in mutex.pml.
 * x86-TSO: the plain stores to hold records can be late (sb[]), one for each lease; a membarrier, a
 * fence, an atomic operation or system call of its lease, or nothing at all, lets one out.
 *
 * The fast unlock of a writer is free 11 of a word without MARK. With FIRST_READS no lease has read
 * before: the map of readers and its summary are empty.
 *
 * Labels (docs/protocol/rwlock.md): look 1 load the word; map; publish 2; enter 3 look again; granted 4 own
 * state last; backout 5; depart() 6; claim 7; revoke 8 membarrier, then the mode; scan 9 each reader;
 * write 10; free 11; blocked 12; reap() 13.
 *
 * Shown: G1 no reader or writer beside a writer (assertions where they are granted; a lease that is
 * lost holds nothing); G4 who has been lost is not granted; G5 rising tokens; G12 damage is told
 * (assertions at the grants); G2/G8 nobody sleeps for ever behind the dead, the gone or the expired:
 * invalid end state.
 *
 * config: -DREADERS=6 -DWRITERS=8   two readers, a writer
 * config: -DREADERS=2 -DWRITERS=12 -DGIVEUPS=1   a reader, two writers
 * config: -DREADERS=2 -DWRITERS=4 -DOPS=2 -DBIAS=1 -DGIVEUPS=1 -DPROCS=2
 * config: -DREADERS=6 -DUPGRADES=6 -DDEATHS=1 -DPROCS=2
 * config: -DPLAIN -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DDEATHS=1 -DOPS=2 -DPROCS=2   no membarriers
 * config: -DREADERS=2 -DWRITERS=4 -DTTL=6 -DDEATHS=1 -DOPS=2 -DPROCS=2
 * config: -DREADERS=6 -DWRITERS=8 -DFIRST_READS -DONE_BIT   two readers that share a bit of the map, a writer
 * ci: -DREADERS=6 -DWRITERS=8 -DDEATHS=1
 * ci: -DREADERS=2 -DWRITERS=12 -DDEATHS=1
 * ci: -DREADERS=2 -DWRITERS=12 -DTTL=2 -DBIAS=1
 * ci: -DREADERS=2 -DWRITERS=12 -DTTL=4
 * no-cycle: -DREADERS=2 -DWRITERS=4 -DPROCS=2
 * quick: -DREADERS=2 -DWRITERS=4 -DDEATHS=1 -DBIAS=1 -DPROCS=2
 * quick: -DREADERS=2 -DWRITERS=4 -DTTL=6 -DGIVEUPS=1 -DPROCS=2
 *
 * must-fail: -DNO_MEMBARRIER -DREADERS=2 -DWRITERS=4 -DPROCS=2   no membarrier before the scan
 * must-fail: -DNO_FENCE -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   fenced, no fence
 * must-fail: -DNO_WAKE -DREADERS=2 -DWRITERS=4 -DPROCS=2   unlock does not wake the writer
 * must-fail: -DNO_BACKOUT_WAKE -DREADERS=2 -DWRITERS=4 -DPROCS=2   nor who backs out
 * must-fail: -DNO_BUMP -DPLAIN -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   wakes, but the counter stands still
 * must-fail: -DSTATE_FIRST -DREADERS=2 -DWRITERS=4 -DTTL=2 -DPROCS=2   own state before the word
 * must-fail: -DNO_STATE -DREADERS=2 -DWRITERS=4 -DTTL=2 -DPROCS=2   own state not at all
 * must-fail: -DMODE_FIRST -DREADERS=2 -DWRITERS=4 -DOPS=2 -DPROCS=2   the mode before the writer
 * must-fail: -DEARLY -DREADERS=2 -DWRITERS=12 -DDEATHS=1 -DMORTAL=4   fenced before the membarrier
 * must-fail: -DNO_SLEEP_BARRIER -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   no membarrier before the sleep
 * must-fail: -DNO_SECOND_LOOK -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   nor a look at the record after it
 * must-fail: -DPLAIN -DNO_DEPART_FENCE -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   no membarrier at all
 * must-fail: -DNO_AWAITED -DREADERS=2 -DWRITERS=4 -DPROCS=2   sleeps on a reader without saying so
 * must-fail: -DBLIND_FLAG -DPLAIN -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   says so whatever the counter has become
 * must-fail: -DFLAG_FIRST -DPLAIN -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   looks whether somebody sleeps, then counts
 * must-fail: -DLATE_MAP -DFIRST_READS -DREADERS=2 -DWRITERS=4 -DPROCS=2   reads, then enters the map
 * must-fail: -DLATE_ANY -DFIRST_READS -DONE_BIT -DREADERS=6 -DWRITERS=8   the map's bit before its summary
 * must-fail: -DNO_RESCAN -DPLAIN -DSTART_FENCED -DREADERS=2 -DWRITERS=4 -DPROCS=2   counter read after the record
 * must-fail: -DNO_MARK -DREADERS=2 -DWRITERS=4 -DPROCS=2   sleeps on the word without the mark
 * must-fail: -DNO_OWNER_LIFE -DREADERS=2 -DWRITERS=4 -DDEATHS=1 -DPROCS=2   not armed on the writer
 * must-fail: -DNO_READER_LIFE -DREADERS=2 -DWRITERS=4 -DDEATHS=1 -DPROCS=2   nor on the reader
 * must-fail: -DNO_EXCL_FENCE -DWRITERS=6 -DTTL=2 -DPROCS=2   record of writing, no fence, own state
 * must-fail: -DNO_DIED -DWRITERS=6 -DDEATHS=1 -DPROCS=2   reaper leaves no sign of the damage
 */
#ifndef PROCS
#define PROCS 3
#endif
#ifndef OPS
#define OPS 1
#endif
#ifndef GIVEUPS
#define GIVEUPS 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef BIAS
#define BIAS 0			/* how often readers may give the bias back */
#endif
#ifndef READERS
#define READERS 0		/* bit p: lease p reads; */
#endif
#ifndef WRITERS
#define WRITERS 0		/* writes; */
#endif
#ifndef UPGRADES
#define UPGRADES 0		/* reads and then upgrades; */
#endif
#ifndef TTL
#define TTL 0			/* may expire at any time */
#endif
#ifndef MORTAL
#define MORTAL 14		/* may be killed */
#endif
#ifdef ONE_BIT
#define BIT(p) 0		/* two slots that have one bit of the map */
#else
#define BIT(p) p
#endif
#define HAS(mask, p) (((mask) >> (p)) & 1)

#define OWNER(v) ((v) & 7)
#define FENCED 8
#define MARK 16
#define DIED 32
#define TOKEN(v) ((v) >> 6)
#define BELOW 63
#define SHARED 2
#define EXCLUSIVE 3
#define WORD 1				/* futex words, as bits of q[]: the lock word, */
#define LIVE(p) (1 << (p))		/* the liveness of p, */
#define DEPARTURES(p) (1 << (PROCS + (p)))

#if PROCS > 2
#define THIRD(x) x
#else
#define THIRD(x)
#endif

short w;
byte rec[PROCS + 1];		/* what others see of each lease's hold record; 0: not reading or writing */
byte sb[PROCS + 1];		/* a late store to it, + 1 */
byte dep[PROCS + 1];
byte awaited;			/* AWAITED of each lease's departures, as bits: one word with dep[] */
byte map;			/* readers; */
bit any;			/* and that there is a bit in it */
bit dead[PROCS + 1], kill[PROCS + 1];
bit passed[PROCS + 1];		/* its expiry has passed; */
bit expired[PROCS + 1];		/* and somebody has latched that */
byte q[PROCS + 1];
bit woken[PROCS + 1];
bit reading[PROCS + 1];		/* ghosts: who may believe that it reads; writes */
byte writer, token;
bit lost;			/* ghost: a writer was lost, and no writer came since */
byte deaths, giveups, biases;

inline drain(i)
{
	if
	:: sb[i] -> rec[i] = sb[i] - 1; sb[i] = 0
	:: else
	fi
}

inline membarrier()
{
	d_step { drain(1); drain(2); THIRD(drain(3)) }
}

/* A plain store: the one before it has left the buffer by then. */
inline store(v)
{
	d_step { drain(me); sb[me] = (v) + 1 }
}

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

#if TTL
#define LOST(p) (dead[p] || expired[p])
/* Whoever sees that the expiry has passed latches that: then it holds nothing any more. */
inline latch(p)
{
	d_step {
		if
		:: passed[p] && !expired[p] && !dead[p] ->
			expired[p] = 1; reading[p] = 0;
			if
			:: writer == (p) -> writer = 0; lost = 1
			:: else
			fi
		:: else
		fi
	}
}
#define TTL_ONLY(x) x
#else
#define LOST(p) (dead[p])
#define TTL_ONLY(x)
#endif

/* 13: frees the word from a lost writer; whoever sleeps on it looks again. */
inline reap(x)
{
	wake_all(LIVE(x));
	r = w;
	if
	:: OWNER(r) == x ->
#ifndef NO_DIED
		pr = (rec[x] == EXCLUSIVE);
#endif
		d_step {
			if
			:: w == r -> w = (r & ~(7 | MARK)) | (pr -> DIED : 0)
			:: else
			fi
		}
		pr = 0;
		wake_all(WORD)
	:: else
	fi;
	r = 0
}

/* 6: the record says SHARED no more. PLAIN: without membarriers. */
inline depart(wakes)
{
#if defined(PLAIN) && !defined(NO_DEPART_FENCE)
	atomic { drain(me); r = w };
#else
	r = w;
#endif
	if
	:: OWNER(r) && (wakes) ->
#ifdef NO_BUMP
		atomic { drain(me); r = HAS(awaited, me); awaited = awaited & ~(1 << me) };
#else
#ifdef FLAG_FIRST
		r = HAS(awaited, me);
		atomic { drain(me); dep[me]++; awaited = awaited & ~(1 << me) };
#else
		atomic { drain(me); dep[me]++; r = HAS(awaited, me);
			awaited = awaited & ~(1 << me) };
#endif
#endif
		if
		:: r -> r = 0; wake_all(DEPARTURES(me))
		:: else
		fi
	:: else -> r = 0
	fi
}

#ifdef NO_WAKE
#define UNLOCK_WAKES 0
#else
#define UNLOCK_WAKES 1
#endif
#ifdef NO_BACKOUT_WAKE
#define BACKOUT_WAKES 0
#else
#define BACKOUT_WAKES 1
#endif

proctype Lease(byte me)
{
	short r;
	byte o, n, p, d;
	bit quit, upgrade, pr, b;

	{
	do
	:: n < OPS ->
		n++;
look:		atomic { r = w; o = OWNER(r); if :: o -> goto blocked :: else fi }
		if
		:: HAS(WRITERS, me) -> goto claim
		:: else
		fi;
		r = 0;
#ifdef STATE_FIRST
		if
		:: expired[me] -> goto leave
		:: else
		fi;
#endif
#ifdef MODE_FIRST
		b = ((w & FENCED) == 0);
#endif
#if defined(FIRST_READS) && !defined(LATE_MAP)
		if
		:: !HAS(map, BIT(me)) ->
#ifdef LATE_ANY
			atomic { drain(me); map = map | (1 << BIT(me)) };
			atomic { drain(me); any = 1 }
#else
			atomic { drain(me); any = 1 };
			atomic { drain(me); map = map | (1 << BIT(me)) }
#endif
		:: else
		fi;
#endif
publish:	store(SHARED);
#ifdef MODE_FIRST
		atomic { r = w; if :: b && !OWNER(r) -> goto granted :: else fi };
#else
		atomic { r = w; b = !(r & (7 | FENCED)); if :: b -> goto granted :: else fi };
#endif
#ifdef NO_FENCE
enter:		atomic { r = w; if :: OWNER(r) -> r = 0; goto backout :: else fi };
#else
enter:		atomic { drain(me); r = w; if :: OWNER(r) -> r = 0; goto backout :: else fi };
#endif
granted:	atomic {
			if
#if !defined(STATE_FIRST) && !defined(NO_STATE)
			:: expired[me] -> quit = 1; r = 0; goto backout
#endif
			:: else ->
				assert(writer == 0);
				assert(!expired[me]);
				assert(!lost || (r & DIED));
				reading[me] = 1
			fi
		}
#ifdef LATE_MAP
		atomic { drain(me); any = 1; map = map | (1 << BIT(me)) };
#endif
#if BIAS
		if
		:: atomic { biases < BIAS && (r & FENCED) && w == r ->
			biases++; w = r & ~FENCED }
		:: skip
		fi;
#endif
		r = 0;
		if
		:: HAS(UPGRADES, me) ->
			atomic { r = w; if :: OWNER(r) -> r = 0; goto unread :: else -> upgrade = 1 fi };
			goto claim
		:: else
		fi;
unread:		atomic { reading[me] = 0; upgrade = 0; drain(me); sb[me] = 1 };
		depart(UNLOCK_WAKES);
		goto leave;
backout:	store(0);
		depart(BACKOUT_WAKES);
		if
		:: quit -> goto leave
		:: else -> goto look
		fi;

claim:		atomic {
			drain(me);
			if
			:: w == r && TOKEN(r) < 31 ->
				w = (r & (FENCED | MARK | DIED)) | me | ((TOKEN(r) + 1) << 6);
				assert(TOKEN(w) > token); token = TOKEN(w); r = w
			:: else -> r = 0; if :: upgrade -> goto unread :: else -> goto look fi
			fi
		}
revoke:		if
		:: !(r & FENCED) ->
#ifdef EARLY
			atomic { if :: w == r || w == (r | MARK) -> w = w | FENCED :: else fi };
#endif
#ifndef NO_MEMBARRIER
			membarrier();
#endif
			atomic { if :: OWNER(w) == me && TOKEN(w) == TOKEN(r) -> w = w | FENCED :: else fi }
		:: else
		fi;
		p = (any -> 1 : PROCS + 1);
scan:		do
		:: p > PROCS -> p = 0; break
		:: atomic { p <= PROCS && (p == me || !HAS(map, BIT(p))) -> p++ }
		:: p <= PROCS && p != me && HAS(map, BIT(p)) ->
#ifdef NO_RESCAN
again:			if
			:: atomic { rec[p] != SHARED -> p++; d = 0; goto scan }
			:: else
			fi;
			d = dep[p];
#else
again:			d = dep[p];
			if
			:: atomic { rec[p] != SHARED -> p++; d = 0; goto scan }
			:: else
			fi;
#endif
			TTL_ONLY(latch(p));
			if
			:: atomic { LOST(p) -> p++; d = 0; goto scan }
			:: else
			fi;
#ifndef NO_AWAITED
#ifdef BLIND_FLAG
			atomic { drain(me); awaited = awaited | (1 << p); d = dep[p] };
#else
			atomic {
				if
				:: dep[p] == d -> drain(me); awaited = awaited | (1 << p)
				:: else -> goto again
				fi };
#endif
#endif
#ifndef PLAIN
#ifndef NO_SLEEP_BARRIER
			membarrier();
#endif
#ifndef NO_SECOND_LOOK
			if
			:: atomic { rec[p] != SHARED -> p++; d = 0; goto scan }
			:: else
			fi;
#endif
#endif
#ifndef NO_AWAITED
			if
			:: atomic { dep[p] == d && HAS(awaited, p) -> q[me] = DEPARTURES(p) }
			:: atomic { else -> goto again }
			fi;
#else
			if
			:: atomic { dep[p] == d -> q[me] = DEPARTURES(p) }
			:: atomic { else -> goto again }
			fi;
#endif
#ifndef NO_READER_LIFE
			if
			:: atomic { !dead[p] -> q[me] = q[me] | LIVE(p) }
			:: atomic { dead[p] -> q[me] = 0; woken[me] = 0; goto again }
			fi;
#endif
			if
			:: atomic { woken[me] -> q[me] = 0; woken[me] = 0 }
#if TTL
			:: atomic { passed[p] && !expired[p] -> q[me] = 0; woken[me] = 0 }
			:: atomic { expired[me] -> quit = 1; q[me] = 0; woken[me] = 0 }
#endif
			:: atomic { giveups < GIVEUPS -> giveups++; quit = 1; q[me] = 0; woken[me] = 0 }
			fi;
			if
			:: dead[p] -> wake_all(LIVE(p))
			:: else
			fi;
			if
			:: atomic { quit -> p = 0; d = 0; goto free }
			:: else -> goto again
			fi
		od;
write:		if
		:: HAS(TTL, me) -> store(EXCLUSIVE);
#ifndef NO_EXCL_FENCE
			d_step { drain(me) }
#endif
		:: else
		fi;
		atomic {
			if
			:: expired[me] -> quit = 1; drain(me); sb[me] = 1; goto free
			:: else ->
				if
				:: !HAS(TTL, me) -> drain(me); sb[me] = EXCLUSIVE + 1
				:: else
				fi;
				assert(writer == 0);
				assert(!reading[1] || me == 1);
				assert(!reading[2] || me == 2);
				THIRD(assert(!reading[3] || me == 3));
				assert(!lost || (r & DIED));
				assert(OWNER(w) == me || expired[me]);
				reading[me] = 0; upgrade = 0;
				writer = me; lost = 0;
				w = w & ~DIED; r = r & ~DIED
			fi
		}
free:		atomic {		/* 11: unlock or give up: CAS from my exact value */
			drain(me);
			if
			:: OWNER(w) == me && TOKEN(w) == TOKEN(r) && !(expired[me] && !quit) ->
				if
				:: writer == me -> writer = 0
				:: else
				fi;
				p = ((w & MARK) != 0);
				w = w & ~(7 | MARK)
			:: else ->	/* lost: the record stays for whoever reaps */
				p = 0; r = 0; if :: expired[me] -> goto leave :: else fi
			fi;
			r = 0
		}
		if
		:: p -> atomic { p = 0; wake_all(WORD) }
		:: else
		fi;
		if
		:: upgrade && !expired[me] -> goto unread
		:: else
		fi;
		store(0);
		goto leave;

blocked:	if
		:: dead[o] -> reap(o); o = 0; goto look
		:: else
		fi;
		TTL_ONLY(latch(o));
		TTL_ONLY(if :: expired[o] -> reap(o); o = 0; goto look :: else fi);
#ifndef NO_MARK
		if
		:: !(r & MARK) ->
			atomic {
				if
				:: w == r -> drain(me); r = r | MARK; w = r
				:: else -> r = 0; o = 0; goto look
				fi
			}
		:: else
		fi;
#endif
		if
		:: atomic { w == r -> drain(me); q[me] = WORD; r = 0 }
		:: atomic { else -> r = 0; o = 0; goto look }
		fi;
#ifndef NO_OWNER_LIFE
		if
		:: atomic { !dead[o] -> q[me] = q[me] | LIVE(o) }
		:: atomic { dead[o] -> q[me] = 0; woken[me] = 0; reap(o); o = 0; goto look }
		fi;
#endif
		if
		:: atomic { woken[me] -> q[me] = 0; woken[me] = 0 }
#if TTL
		:: atomic { passed[o] && !expired[o] -> q[me] = 0; woken[me] = 0 }
		:: atomic { expired[me] -> quit = 1; q[me] = 0; woken[me] = 0 }
#endif
		:: atomic { giveups < GIVEUPS -> giveups++; quit = 1; q[me] = 0; woken[me] = 0 }
		fi;
		if
		:: dead[o] -> reap(o)
		:: else
		fi;
		atomic { o = 0; if :: !quit -> goto look :: else fi };
leave:		atomic {
			quit = 0; upgrade = 0; r = 0; o = 0; p = 0; d = 0; b = 0;
			if
			:: expired[me] -> n = OPS
			:: else
			fi
		}
	:: else -> break
	od
	} unless {
		d_step {
			kill[me] ->
			q[me] = 0; woken[me] = 0; reading[me] = 0;
			if
			:: writer == me -> writer = 0; lost = 1
			:: else
			fi;
			drain(me);
			r = 0; o = 0; n = 0; p = 0; d = 0; quit = 0; upgrade = 0; pr = 0; b = 0
		}
		dead[me] = 1;
		wake_one(LIVE(me))
	}
}

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

#if DEATHS
proctype Killer()
{
	do
	:: atomic {
		deaths < DEATHS -> deaths++;
		if
		:: HAS(MORTAL, 1) && !kill[1] -> kill[1] = 1
		:: HAS(MORTAL, 2) && !kill[2] -> kill[2] = 1
#if PROCS > 2
		:: HAS(MORTAL, 3) && !kill[3] -> kill[3] = 1
#endif
		fi
	   }
	:: break
	od
}
#endif

#if TTL
proctype Clock()
{
	if
	:: HAS(TTL, 1) && !passed[1] -> passed[1] = 1
	:: HAS(TTL, 2) && !passed[2] -> passed[2] = 1
#if PROCS > 2
	:: HAS(TTL, 3) && !passed[3] -> passed[3] = 1
#endif
	:: skip
	fi
}
#endif

init {
	atomic {
#ifdef START_FENCED
		w = FENCED | (1 << 6);
#else
		w = 1 << 6;
#endif
		token = 1;
#ifndef FIRST_READS
		any = 1; map = 255;
#endif
		run Lease(1); run Lease(2); THIRD(run Lease(3));
		run Buffers();
#if DEATHS
		run Killer();
#endif
#if TTL
		run Clock();
#endif
	}
}
