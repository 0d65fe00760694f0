/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pending acquires: one helper waits for two locks on behalf of others and sleeps on one word; it is told
 * which lock was let go by a bit for each, and looks at those alone.
 *
 * Abstracted: each lock is held by one process, which lets it go once and tells the helper, and may die
 * before it has let go: then its life, which is compared like the word, ends the helper's sleep, who looks at
 * that lock. Who dies between his steps is told of by his record, see the page. Names and MARK are there all
 * the time: the page says why they are seen.
 *
 * Labels (docs/protocol/pending.md): free 1 the lock; say 2 poked + bit; poke 3 departures + 2, AWAITED
 * cleared and a wake; listen 4 departures + AWAITED; news 5 poked -> 0; look 6; sleep 7, compared by the
 * kernel with the word of step 4.
 *
 * Shown by the absence of invalid end states: the helper, whose end is that it has seen both locks free,
 * never sleeps while a lock that was let go is not looked at.
 *
 * config: -DLOCKS=2
 * config: -DLOCKS=3
 * quick: -DLOCKS=2
 *
 * must-fail: -DLOCKS=2 -DSAY_LATE   departures are counted up before the bit is set
 * must-fail: -DLOCKS=2 -DNEWS_EARLY   the bits are taken before AWAITED is set
 * must-fail: -DLOCKS=2 -DSAY_FIRST   the bit is set before the lock is let go
 * must-fail: -DLOCKS=2 -DDROPS_NEWS   a look at one lock takes the bits of all
 * must-fail: -DLOCKS=2 -DNO_COMPARE   falls asleep without comparing the word
 */
#define AWAITED 1

bit held[LOCKS] = 1;
byte poked;		/* bit l: lock l was let go */
byte departures;	/* {count, AWAITED} */
bit died[LOCKS];	/* whoever held it, before it has told; the kernel wakes who is armed on it */
byte deaths;
bit asleep;

inline say()
{
	poked = poked | (1 << me)
}

inline poke()
{
	d_step {
		departures = (departures & ~AWAITED) + 2;
		asleep = 0
	}
}

active [LOCKS] proctype holder()
{
	byte me = _pid;

	if
	:: skip
	:: d_step { held[me] = 0; died[me] = 1; deaths++; asleep = 0 }; goto done /* reaped */
	fi;
#ifdef SAY_FIRST
	say();
#endif
free:	held[me] = 0;
#ifdef SAY_LATE
	poke();
	say();
	goto done;
#endif
#ifndef SAY_FIRST
	say();
#endif
	poke();
done:	skip
}

active proctype helper()
{
	byte news, expected, alive, lock, left = LOCKS;
	bit all = 1, found[LOCKS];

end:	do
	:: left == 0 -> break
	:: else ->
#ifdef NEWS_EARLY
		d_step { news = poked; poked = 0 }
#endif
		d_step { departures = departures | AWAITED; expected = departures; alive = deaths }
#ifndef NEWS_EARLY
		d_step { news = poked; poked = 0 }
#endif
		lock = 0;
		do
		:: lock < LOCKS ->
			if
			:: (all || (news & (1 << lock)) || died[lock]) && !found[lock] && !held[lock] ->
				found[lock] = 1;
				left--;
#ifdef DROPS_NEWS
				news = 0;
				all = 0
#endif
			:: else
			fi;
			lock++
		:: else -> break
		od;
		all = 0;
		if
		:: left ->
#ifdef NO_COMPARE
			asleep = 1;
#else
			d_step {
				if
				:: departures == expected && deaths == alive -> asleep = 1
				:: else
				fi
			}
#endif
			asleep == 0
		:: else
		fi
	od;
	assert(left == 0)
}
