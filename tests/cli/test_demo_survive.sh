#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo-survive: of the four locks whose holder is killed, the two that know their owner go on, told
# of the death (G2, G12), and the other two stand still.
# ctest: TIER full it watches a demo for its seconds
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}

"$LEASEHOLD_BIN/demo-survive" >"$work/output" &
demo=$!
wait $demo || fail "exit status $?"
cat "$work/output"

# A line of the table: name, turns/s before, and after, next grant after, told.
line() {
	grep "^$1  *[0-9]* *[0-9]* *\(never\|[0-9.]* ms\) *\(yes\|no\)\$" "$work/output" ||
		fail "no line of the table for $1"
}
for lock in 'pthread robust mutex' 'Leasehold mutex'; do
	line "$lock" | grep -q ' [1-9][0-9]* *[1-9][0-9]* *[0-9.]* ms *yes$' || fail "$lock"
done
for lock in sem_t pthread_rwlock; do
	line "$lock" | grep -q ' [1-9][0-9]* *0 *never *no$' || fail "$lock"
done
grep -q '^Leasehold went on' "$work/output" || fail "no verdict"
# The number of its process is in the arena's name; others may be about, of other tests.
! compgen -G "/dev/shm/demo-survive-$demo-*" || fail "an arena was left behind"

for wrong in nonsense '' 0 -1 +1 2s 86401 '1 2'; do
	status=0
	"$LEASEHOLD_BIN/demo-survive" "$wrong" 2>"$work/usage" || status=$?
	[ $status -eq 2 ] || fail "exit status $status for \"$wrong\""
	grep -q '^usage: demo-survive \[SECONDS\]$' "$work/usage" || fail "no usage for \"$wrong\""
done
status=0
"$LEASEHOLD_BIN/demo-survive" 1 1 2>/dev/null || status=$?
[ $status -eq 2 ] || fail "exit status $status for two arguments"
