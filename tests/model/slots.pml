/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watch (default) and cell (-DCELL): who may publish, tags a slot, writes two halves of a value,
 * publishes; is replaced when it dies or its lease is lost, at any step; goes on, if it was only
 * lost. Readers read; a receiver (-DRECEIVER) sleeps. A stop is a process that takes no step for as
 * long as it likes, then goes on anywhere: every interleaving has it.
 *
 * Abstracted: a lease is lost by a step of its own, at any moment, once (latching: lease.pml), and its
 * slot is not used again. Half-values are numbers. A receiver's sleep has no backstop: what needs it
 * is found as a process that waits for ever. It sleeps behind a sender that has claimed already (what
 * docs/protocol/slots.md says of the first claim is not modelled). Sequentially consistent; the pairs
 * of fences are in docs/protocol/slots.md.
 *
 * Labels: look, take 1, reap 6, mark and sleep 7 who may publish; tag 2, recheck, write 3, even,
 * publish 4, wake, free 5 the writer; named, second, first half, other half, last the reader.
 *
 * Shown by assertions: G7 what is read is whole and was published under the version read, and is not
 * older than what was published before the read began; versions of one reader never go back; of a
 * cell no update is lost (each value is its version); G4 whose lease is lost publishes nothing once it
 * is replaced (the CAS); G1 one may publish; G5 tokens rise; G8 nobody sleeps for ever.
 *
 * config: -DSENDS=1   two senders, one reader
 * config: -DSENDS=1 -DRECEIVER -DREADS=0
 * config: -DCELL
 * config: -DCELL -DWAITS -DREADS=0
 * quick: -DSENDS=1 -DRECEIVER -DREADS=0
 * quick: -DCELL -DWAITS -DREADS=0
 * ci: -DSENDS=2
 * ci: -DSENDS=2 -DRECEIVER -DREADS=0
 * ci: -DCELL -DWAITS -DREADS=0 -DWRITERS=3
 *
 * must-fail: -DREUSE_ZOMBIE -DSENDS=2   a living zombie's slot is used again
 * must-fail: -DBLIND   publishes by a store
 * must-fail: -DCELL -DBLIND   the same
 * must-fail: -DNOT_ODD -DSENDS=2   the sequence stays even while it is written
 * must-fail: -DONE_LOOK -DSENDS=2   a reader does not look at the word again
 * must-fail: -DNO_LAST -DSENDS=2   a reader does not look at sequence or word when it has copied
 * must-fail: -DNO_RECHECK -DSENDS=2   a tag is not rechecked
 * must-fail: -DCELL -DNO_RECHECK -DSENDS=2   the same
 * must-fail: -DNO_ARM -DRECEIVER -DREADS=0   asleep on the word alone
 * must-fail: -DNO_WAKE -DRECEIVER -DREADS=0   publishes and closes without a wake
 * must-fail: -DNO_MARK -DCELL -DWAITS -DREADS=0   asleep without having marked the word
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef SENDS
#define SENDS 1
#endif
#ifndef READS
#define READS 1
#endif
#define VERSIONS 12

/* The word: {owner, slot, mark, token}. */
#define OWNER(w) ((w) & 3)
#define SLOT(w) (((w) >> 2) & 3)
#define MARK 16
#define TOKEN(w) ((w) >> 5)
#define WORD(owner, slot, token) ((owner) | ((slot) << 2) | ((token) << 5))
#define FREED(w) ((w) & ~(3 | MARK))
#define SAME(a, b) (((a) | MARK) == ((b) | MARK))
#define TAG(id) (2 * (id) + 1)
#define GONE(id) (dead & (1 << (id)))
#define LOST(id) ((dead | lost) & (1 << (id)))

short word;
byte sequence[SLOTS], version[SLOTS], first[SLOTS], other[SLOTS];
byte published[VERSIONS];	/* what was published under each version */
byte newest;			/* version */
byte dead, lost;		/* sets of writers */
byte asleep[WRITERS + 2];	/* 0, or whose life it is armed on, + 1 */
bool sleeping[WRITERS + 2];

/* Wakes all who sleep on the word. */
inline wake()
{
	k = 0;
	do
	:: k < WRITERS + 2 -> sleeping[k] = false; k++
	:: else -> break
	od
}

/* The end of `id`, or its expiry: who is armed on its life, or its expiry, wakes. */
inline tell(id)
{
	k = 0;
	do
	:: k < WRITERS + 2 ->
		if
		:: asleep[k] == (id) + 1 -> sleeping[k] = false
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

inline write_value(i)
{
	version[i] = version[SLOT(w)] + 1;
	first[i] = value;
}

proctype writer(byte id)
{
	short w;
	byte i, before, done, value, base, k;

	{
	skip;
look:	atomic {
		w = word;
		if
		:: LOST(id) && !GONE(id) && OWNER(w) != id -> w = 0; goto end
		:: else
		fi
	}
	if
	:: OWNER(w) == id -> goto write
	:: OWNER(w) == 0 ->
take:		atomic {	/* 1 */
			if
			:: word == w ->
				word = FREED(w) + id + WORD(0, 0, 1);
				w = word;
				base = first[SLOT(w)]
			:: else -> w = 0; goto look
			fi
		}
		/* recheck of the lease */
		if
		:: LOST(id) -> goto free
		:: else
		fi;
		goto write
	:: OWNER(w) != 0 && OWNER(w) != id && LOST(OWNER(w)) ->
reap:		atomic {	/* 6: by the exact word */
			if
			:: word == w -> word = FREED(w)
			:: else
			fi;
			w = 0
		}
		atomic { wake(); k = 0; goto look }
	:: OWNER(w) != 0 && OWNER(w) != id && !LOST(OWNER(w)) ->
#ifdef WAITS
mark:		atomic {	/* 7 */
#ifndef NO_MARK
			if
			:: word == w && !(w & MARK) -> word = w | MARK; w = word
			:: word == w && (w & MARK)
			:: word != w -> w = 0; goto look
			fi
#else
			skip
#endif
		}
		atomic {
			if
			:: word == w && !LOST(OWNER(w)) ->
				asleep[id] = OWNER(w) + 1;
				sleeping[id] = true
			:: else
			fi
		}
		!sleeping[id];
		asleep[id] = 0; w = 0;
		goto look
#else
		goto end	/* -EBUSY */
#endif
	fi;

write:	/* a lease that was lost is not looked at here: the worst that a stopped one can do */
	atomic {
#ifdef CELL
		value = base + 1;
#else
		value = 16 * id + done + 1;
#endif
		i = (SLOT(w) + 1) % SLOTS
	}
tag:	/* 2 */
	if
	:: i == SLOT(w) -> goto end	/* -EBUSY */
	:: else
	fi;
	before = sequence[i];
	atomic {
#ifdef NOT_ODD
		skip
#else
		if
#ifdef REUSE_ZOMBIE
		:: (before & 1) && before != TAG(id) && !LOST(before / 2) ->
#else
		:: (before & 1) && before != TAG(id) && !GONE(before / 2) ->
#endif
			i = (i + 1) % SLOTS;
			goto tag
		:: else ->
			if
			:: sequence[i] == before -> sequence[i] = TAG(id)
			:: else -> i = (i + 1) % SLOTS; goto tag
			fi
		fi
#endif
	}
#ifndef NO_RECHECK
	atomic {	/* recheck: from here on nobody else publishes slot i */
		if
		:: SAME(word, w)
		:: else -> goto restore
		fi
	}
#endif
	write_value(i);	/* 3 */
	other[i] = value;
	/* even: the token of its publication */
#ifdef CELL
	sequence[i] = 2 * TOKEN(w);
#else
	sequence[i] = 2 * (TOKEN(w) + 1);
#endif
	atomic {	/* publish 4 */
#ifdef BLIND
		if
		:: true ->
#else
		if
		:: SAME(word, w) ->
#endif
			assert(OWNER(word) == id);
#ifdef CELL
			k = (word & MARK) != 0;
			word = WORD(0, i, TOKEN(w));
			assert(value == version[i]);
#else
			k = 1;
			word = WORD(id, i, TOKEN(w) + 1);
#endif
			assert(version[i] == newest + 1);
			newest++;
			published[newest] = value;
			w = word
		:: else -> goto end	/* lost: -ESTALE */
		fi
	}
#ifndef NO_WAKE
	atomic {
		if
		:: k -> wake()
		:: else
		fi;
		k = 0
	}
#endif
	done++;
	if
	:: done == SENDS -> goto free
	:: else
	fi;
#ifdef CELL
	goto look;
#else
	goto write;
#endif

restore:
	if
	:: sequence[i] == TAG(id) -> sequence[i] = before
	:: else
	fi;
	goto end;

free:	atomic {	/* 5 */
		w = word;
		k = 0;
		if
		:: OWNER(w) == id -> word = FREED(w); k = 1
		:: else
		fi
	}
#ifndef NO_WAKE
	atomic {
		if
		:: k -> wake()
		:: else
		fi;
		k = 0
	}
#endif
end:	w = 0; i = 0; before = 0; value = 0
	} unless { GONE(id) }
}

/* What may happen to a writer, at any moment: nothing, loss, or death. */
proctype life(byte id)
{
	byte k;

	if
	:: atomic { lost = lost | (1 << id); tell(id) }
	:: atomic { dead = dead | (1 << id); tell(id) }
	:: skip
	fi
}

proctype reader()
{
	short w;
	byte i, s, v, a, b, floor, last, done;

	do
	:: done < READS ->
		floor = newest;
retry:		w = word;	/* named */
		i = SLOT(w);
		s = sequence[i];
		v = version[i];
#ifndef ONE_LOOK
		if		/* second look */
		:: word != w -> goto retry
		:: else
		fi;
#endif
		a = first[i];
		b = other[i];
#ifndef NO_LAST
		if
		:: !(s & 1) && sequence[i] == s
		:: else ->
			if
			:: word == w
			:: else -> goto retry
			fi
		fi;
#endif
		atomic {
			assert(a == b);		/* whole */
			assert(a == published[v]);
			assert(v >= floor && v >= last);
			last = v;
			w = 0; i = 0; s = 0; v = 0; a = 0; b = 0; floor = 0;
			done++
		}
	:: else -> break
	od
}

/* lh_watch_changed: until an unseen value or the end of the sender. */
proctype receiver()
{
	short w;
	byte seen;

	do
	:: seen == 2 -> break
	:: else ->
		w = word;
		if
		:: newest > seen -> seen = newest
		:: newest <= seen && OWNER(w) == 0 -> break	/* -EPIPE */
		:: newest <= seen && OWNER(w) != 0 && LOST(OWNER(w)) -> break
		:: else ->
			atomic {
				if
				:: word == w && !LOST(OWNER(w)) ->
#ifndef NO_ARM
					asleep[WRITERS + 1] = OWNER(w) + 1;
#endif
					sleeping[WRITERS + 1] = true
				:: else
				fi
			}
			!sleeping[WRITERS + 1];
			asleep[WRITERS + 1] = 0
		fi
	od
}

init {
	atomic {
#ifdef RECEIVER
		word = WORD(1, 0, 1);
		run receiver();
#endif
		run writer(1);
		run writer(2);
		run life(1);
#if WRITERS == 3
		run writer(3);
		run life(2);
#endif
#if READS > 0
		run reader();
#endif
	}
}
