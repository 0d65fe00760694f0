#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: NOT_UNDER valgrind it lacks futex_waitv, and slows what is measured at will
# ctest: TIER ci it measures for half a minute what only a change of lease-bench would change
# lease-bench is honest: what a peer or the library is slowed down by shows in the ratios, in the
# right direction and by no less than half; an empty body is measured and subtracted for all alike;
# who recovers is seen, not claimed. Nothing here bounds a time from above.
set -euo pipefail
bench=$LEASEHOLD_BIN/lease-bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	cat "$work/json" 2>/dev/null
	exit 1
}
measure() {
	"$bench" "$@" --quick --seed 7 --json >"$work/json" || fail "lease-bench $*"
}

echo "-- a planted slow-down, without contention"
# The slow-down of NS over what the other takes, in the same run, is what the ratio rises by; the half of that
# allows for what else the machine does. A fast machine makes the ratio greater still.
uncontended() { # PEER REFERENCE: "ratio peer's-ns other's-ns"
	jq -r --arg peer "$1" --arg reference "$2" '.rows[] |
		select(.case == "uncontended" and .peer == $peer and .reference == $reference) |
		"\(.ratio.median) \(.peer_figure.median) \(.reference_figure.median)"' "$work/json"
}
for subcommand in mutex semaphore; do
	case $subcommand in
	mutex) peer=leasehold reference=pthread-robust ;;
	semaphore) peer=leasehold reference=sem_t ;;
	esac
	measure $subcommand --seconds 1 --case uncontended
	read -r plain _ _ < <(uncontended $peer $reference)
	measure $subcommand --seconds 1 --case uncontended --handicap $peer=2000
	read -r slower _ other < <(uncontended $peer $reference)
	jq -en >"$work/out" "$slower - $plain >= 0.5 * 2000 / $other" ||
		fail "$subcommand: the library, 2000 ns slower, went from $plain to $slower"
	measure $subcommand --seconds 1 --case uncontended --handicap $reference=2000
	read -r faster own _ < <(uncontended $peer $reference)
	jq -en >"$work/out" "1 / $faster - 1 / $plain >= 0.5 * 2000 / $own" ||
		fail "$subcommand: $reference, 2000 ns slower, went from $plain to $faster"
done

echo "-- a planted slow-down, with contention: there the ratio is of throughputs"
contended() {
	jq -r '.rows[] | select(.case == "contended" and .what == "2 processes" and
		.peer == "leasehold") | .ratio.median' "$work/json"
}
measure mutex --seconds 1 --case contended --processes 2
plain=$(contended)
measure mutex --seconds 1 --case contended --processes 2 --handicap leasehold=20000
slower=$(contended)
measure mutex --seconds 1 --case contended --processes 2 --handicap pthread-robust=20000
faster=$(contended)
jq -en >"$work/out" "$slower < $plain and $plain < $faster" ||
	fail "throughput: $slower with the library slowed, $plain, $faster with the peer slowed"

echo "-- a slow-down of what is not measured is refused"
for wrong in "mutex --case uncontended --handicap nobody=5" "mutex --handicap sem_t=5" \
	"rwlock --handicap pthread-robust=5" "locks --handicap flock=5" \
	"mutex --case header --handicap leasehold=5" \
	"mutex --case lease --case kill --handicap leasehold=5" \
	"mutex --case fairness --handicap flock=5" "semaphore --case recovers --handicap sem_t=5"; \
	do
	status=0
	# shellcheck disable=SC2086
	"$bench" $wrong --quick >"$work/out" 2>"$work/err" || status=$?
	[ $status -eq 2 ] && grep -q handicap "$work/err" && [ ! -s "$work/out" ] ||
		fail "$status, not refused before the run: $wrong"
done
# And where it is not refused, something is slowed: else the run ends with an error.
for right in "mutex --case header --case fairness --handicap leasehold=5" \
	"semaphore --case fairness --handicap sem_t=5" \
	"mutex --case oversubscribed --handicap flock=5"; do
	# shellcheck disable=SC2086
	"$bench" $right --quick --seconds 1 --json >"$work/out" || fail "nothing was slowed: $right"
done

echo "-- the empty body"
measure mutex --seconds 1 --case uncontended
jq -e '.rows | length > 0 and (map(.empty_loop.median) | unique | length == 1 and .[0] > 0)' \
	"$work/json" >"$work/out" ||
	fail "the empty loop was not measured, or not the same for all rows"

echo "-- who recovers"
# Those of which a grant is expected have a minute for it.
measure mutex --seconds 1 --case recovers --patient pthread-robust --patient pthread-pi --patient \
	leasehold \
	--patient leasehold-ttl --patient semop-undo --patient flock --patient fcntl-ofd
recovers() {
	jq -r --arg peer "$1" '.rows[] | select(.case == "recovers" and .peer == $peer) |
		.peer_recovers' "$work/json"
}
while read -r peer expected; do
	[ "$(recovers "$peer")" = "$expected" ] || fail "$peer: $(recovers "$peer"), not $expected"
done <<-END
	pthread-robust told
	pthread-pi told
	leasehold told
	leasehold-ttl told
	pthread hangs
	semop-undo untold
	flock untold
	fcntl-ofd untold
END
for peer in boost-mutex ck-spinlock; do # if they were there when it was built
	case $(recovers $peer) in
	"" | hangs) ;;
	*) fail "$peer: $(recovers $peer)" ;;
	esac
done
measure rwlock --seconds 1 --case recovers --patient lh_rwlock --patient 'lh_rwlock, read'
[ "$(recovers lh_rwlock)" = told ] || fail "a writer's death"
[ "$(recovers "lh_rwlock, read")" = untold ] || fail "a reader's death"
[ "$(recovers pthread_rwlock)" = hangs ] || fail "pthread's writer"
measure semaphore --seconds 1 --case recovers --patient pthread-robust --patient leasehold
[ "$(recovers leasehold)" = untold ] || fail "a semaphore's holder"
[ "$(recovers sem_t)" = hangs ] || fail "sem_t's holder"
# The library's, and whether its grant tells of the death; and what hangs (+ for a blank).
while read -r subcommand expected peer hangs; do
	measure "$subcommand" --seconds 1 --case recovers --patient pthread-robust --patient "$peer"
	[ "$(recovers "$peer")" = "$expected" ] || fail "$subcommand: $peer, not $expected"
	[ "$(recovers "${hangs//+/ }")" = hangs ] || fail "$subcommand: $hangs"
done <<-END
	barrier told lh_barrier pthread+barrier
	condvar untold leasehold pthread
	once untold lh_once pthread_once
	watch told lh_watch bare+futex
	cell untold lh_cell pthread
END
measure locks --seconds 1 --case recovers --patient pthread-robust --patient 'a key' --patient \
	"a file's key" --patient flock --patient fcntl-ofd
[ "$(recovers 'a key') $(recovers "a file's key")" = "told told" ] || fail "a key's holder"
[ "$(recovers flock) $(recovers fcntl-ofd)" = "untold untold" ] || fail "a file's locks"
