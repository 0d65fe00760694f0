#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full only a change of lease-bench would change it
# ctest: NOT_UNDER valgrind it lacks futex_waitv, and its processes are killed by the hundred
# lease-bench: a quick run of each sub-command measures every case and writes JSON; wrong calls are
# refused. What it measures is asserted nowhere: that is not for a test on a machine with other
# work.
set -euo pipefail
bench=$LEASEHOLD_BIN/lease-bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}

# In the quick tier one of them, in the full one a third, others with each seed; and with as few
# processes as contend at all, where a contest has its choice of them.
subcommands=(mutex rwlock semaphore barrier condvar once watch cell locks)
seed=${LEASEHOLD_SEED:-$SRANDOM}
case ${LEASEHOLD_TIER-full} in
quick) share=${#subcommands[@]} ;;
full) share=3 ;;
*) share=1 ;;
esac
[ $share -eq 1 ] || echo "one sub-command in $share, LEASEHOLD_SEED=$seed"
for ((i = seed % share; i < ${#subcommands[@]}; i += share)); do
	subcommand=${subcommands[i]}
	contest=()
	case $share:$subcommand in
	1:*) ;;
	*:mutex | *:semaphore) contest=(--processes 2) ;;
	esac
	echo "-- $subcommand, quick, JSON"
	"$bench" "$subcommand" --quick --seconds 1 --seed 7 "${contest[@]}" --json >"$work/json" ||
		fail "$subcommand"
	jq -e --arg name "$subcommand" '.benchmark == $name and .seed == 7 and .quick and
		(.failed | not)' "$work/json" || fail "$subcommand: the head"
	jq -e '.system | (.kernel | length > 0) and .cpus > 0 and (.membarrier | type) == "boolean"
		and (.futex_waitv | type) == "boolean"' "$work/json" ||
			fail "$subcommand: the system"
	"$bench" --help | sed -n "/^$subcommand:/,/^\$/s/^  \([a-z-]*\) .*/\1/p" |
		sort >"$work/promised"
	jq -r '.rows[].case' "$work/json" | sort -u >"$work/measured"
	diff "$work/promised" "$work/measured" || fail "$subcommand: < in --help, > measured"
	jq -e 'all(.rows[] | select(.case != "recovers"); .ratio.rounds > 0 and .ratio.median > 0 and
		.ratio.low <= .ratio.median and .ratio.median <= .ratio.high and
		.peer_figure.min <= .peer_figure.median and
		.peer_figure.median <= .peer_figure.max)' "$work/json" ||
		fail "$subcommand: a row without figures"
	[ $subcommand != mutex ] ||
		jq -e '[.rows[] | select(.target)] | length > 0 and all(.[]; .target.verdict |
			IN("met", "met (interval)", "unclear", "missed"))' "$work/json" ||
			fail "the targets"
	# What a table of so many locks costs, whoever's they are, stands beside what ours costs.
	[ $subcommand != locks ] ||
		jq -e '[.rows[] | select(.case == "pair" and (.peer + .reference | test("pthread")))] |
			map([.peer, .reference, .target]) == [["100000 keys", "100000 pthread", null],
			["100000 pthread", "10 of 100000 pthread", null]]' "$work/json" ||
			fail "keys at random without bare mutexes beside them"
done

echo "-- one case, table"
"$bench" mutex --quick --case header --case lease --seed 7 >"$work/table"
grep -q 'seed 7, quick' "$work/table" || fail "the table's head"
grep -q '^header .*<= 64 bytes *met' "$work/table" || fail "the header's size"
! grep -q '^contended' "$work/table" || fail "a case that was not asked for"

echo "-- a report that cannot be written"
for format in '' --json --csv; do
	status=0
	# shellcheck disable=SC2086
	"$bench" mutex --quick --case header $format >/dev/full 2>"$work/err" || status=$?
	[ $status -eq 1 ] && grep -q written "$work/err" ||
		fail "exit $status on a full device: $format"
done

echo "-- refused"
for wrong in "" "nothing" "mutex --case none" "mutex --seconds 0" "mutex --seconds x" \
	"mutex --seed -1" "mutex extra" "mutex --unknown" "--case lease"; do
	status=0
	# Words on purpose.
	# shellcheck disable=SC2086
	"$bench" $wrong >"$work/out" 2>"$work/err" || status=$?
	[ $status -eq 2 ] || fail "exit $status, not 2: lease-bench $wrong"
	[ -s "$work/err" ] && [ ! -s "$work/out" ] || fail "says nothing: lease-bench $wrong"
done

echo "-- ended early"
"$bench" mutex --case uncontended --seconds 120 >"$work/out" &
pid=$!
until compgen -G "/dev/shm/lease-bench.$pid.*" >/dev/null; do
	kill -0 $pid || fail "it has ended"
done
kill -TERM $pid
status=0
wait $pid || status=$?
[ $status -eq 143 ] || fail "exit $status after SIGTERM"
! compgen -G "/dev/shm/lease-bench.$pid.*" || fail "shared memory is left"
