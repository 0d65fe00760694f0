#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: NOT_UNDER valgrind it lacks futex_waitv, and its processes are killed by the hundred
# lease-bench: a quick run measures every case and writes JSON; wrong calls are refused. What it
# measures is asserted nowhere: that is not for a test on a machine with other work.
set -euo pipefail
bench=$LEASEHOLD_BIN/lease-bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}

echo "-- quick, JSON"
"$bench" mutex --quick --seed 7 --json >"$work/json"
jq -e '.benchmark == "mutex" and .seed == 7 and .quick and (.failed | not)' "$work/json" ||
	fail "the head"
jq -e '.system | (.kernel | length > 0) and .cpus > 0 and (.membarrier | type) == "boolean"
	and (.futex_waitv | type) == "boolean"' "$work/json" || fail "the system"
"$bench" --help | sed -n '/^mutex:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | sort >"$work/promised"
jq -r '.rows[].case' "$work/json" | sort -u >"$work/measured"
diff "$work/promised" "$work/measured" || fail "< cases in --help, > cases measured"
jq -e 'all(.rows[] | select(.case != "recovers"); .ratio.rounds > 0 and .ratio.median > 0 and .ratio.low <= .ratio.median
	and .ratio.median <= .ratio.high and .peer_figure.min <= .peer_figure.median
	and .peer_figure.median <= .peer_figure.max)' "$work/json" || fail "a row without figures"
jq -e '[.rows[] | select(.target)] | length > 0 and all(.[]; .target.verdict |
	IN("met", "met (interval)", "unclear", "missed"))' "$work/json" || fail "the targets"

echo "-- the other sub-commands"
for subcommand in rwlock semaphore barrier condvar once watch cell locks; do
	"$bench" "$subcommand" --quick --seconds 2 --json >"$work/json" || fail "$subcommand"
	jq -e --arg name "$subcommand" '.benchmark == $name and (.failed | not) and
		all(.rows[] | select(.case != "recovers"); .ratio.rounds > 0 and .ratio.median > 0)' "$work/json" ||
		fail "$subcommand: the rows"
	"$bench" --help | sed -n "/^$subcommand:/,/^\$/s/^  \([a-z-]*\) .*/\1/p" | sort >"$work/promised"
	jq -r '.rows[].case' "$work/json" | sort -u >"$work/measured"
	diff "$work/promised" "$work/measured" || fail "$subcommand: < in --help, > measured"
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
	[ $status -eq 1 ] && grep -q written "$work/err" || fail "exit $status on a full device: $format"
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
