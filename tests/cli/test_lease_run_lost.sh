#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full only a change of lease-run would change it
# lease-run when the lock is lost while the command runs, its guard being stopped for longer than
# the TTL (--on-lost; G3, G4).
# shellcheck disable=SC2016  # $ in the commands is theirs
. "$(dirname "$0")/lease_run.bash"

# lose OPTION...: a lease-run holds `door`, whose command notes SIGTERM; its guard is stopped until
# somebody else has had the lock, and goes on.
lose() {
	rm -f "$work/begun" "$work/stop" "$work/told"
	lease-run --ttl 500ms "$@" door -- bash -c 'trap "touch \"$0/told\"; exit 5" TERM
		touch "$0/begun"; until [ -e "$0/stop" ]; do read -t 0.02 <>"$0/fifo"; done
		exit 6' "$work" 2>"$work/said" &
	holder=$!
	until_true [ -e "$work/begun" ]
	guard=$(guard_of "$holder")
	kill -STOP "$guard"
	lease-run door -- sh -c 'echo "died=$LEASE_OWNER_DIED"' >"$work/next"
	[ "$(cat "$work/next")" = died=1 ] || fail "the next one was not told: $(cat "$work/next")"
}
# ended CODE: lease-run ends so.
ended() {
	code=0
	wait "$holder" || code=$?
	[ "$code" -eq "$1" ] || fail "exit $code, not $1: $(cat "$work/said")"
}
mkfifo "$work/fifo"

echo "-- term: the command is told, and lease-run tells"
lose
kill -CONT "$guard"
ended 79
[ -e "$work/told" ] || fail "no SIGTERM"
grep -q 'door was lost' "$work/said" || fail "it says: $(cat "$work/said")"

echo "-- term, and the command does not end by it: it is killed; so is what it started"
rm -f "$work/begun"
lease-run --ttl 500ms -k 50ms --on-lost=term door -- bash -c '
	trap "touch \"$0/told\"" TERM
	(trap "" TERM; echo $BASHPID >"$0/inner.new"; mv "$0/inner.new" "$0/inner"; exec tail -f /dev/null) &
	until [ -e "$0/inner" ]; do read -t 0.02 <>"$0/fifo"; done
	touch "$0/begun"; while :; do read -t 0.02 <>"$0/fifo"; done' "$work" 2>"$work/said" &
holder=$!
until_true [ -e "$work/begun" ]
guard=$(guard_of "$holder")
kill -STOP "$guard"
lease-run door -- true
kill -CONT "$guard"
ended 79
! kill -0 "$(cat "$work/inner")" 2>/dev/null || fail "what the command started goes on"

echo "-- ignore: it goes on, and ends as it does"
lose --on-lost=ignore
kill -CONT "$guard"
until_true grep -q 'goes on' "$work/said"
[ ! -e "$work/told" ] || fail "a signal, with ignore"
touch "$work/stop"
ended 6

echo "-- kill: it has ended before the next one is granted the lock"
lose --on-lost=kill # the guard is not continued: whoever wants the lock kills it
ended 79
[ ! -e "$work/told" ] || fail "SIGTERM, with kill"

echo "-- without fork"
lose -F
kill -CONT "$guard"
ended 5
lose -F --on-lost=kill
ended 137

echo "-- a loss that nobody has wanted the lock for is no less a loss"
rm -f "$work/begun" "$work/stop"
lease-run --ttl 500ms door -- bash -c 'touch "$0/begun"; until [ -e "$0/stop" ]; do
	read -t 0.02 <>"$0/fifo"; done' "$work" 2>"$work/said" &
holder=$!
until_true [ -e "$work/begun" ]
guard=$(guard_of "$holder")
kill -STOP "$guard"
until_true sh -c "lease-inspector leases $arena | grep -q expired"
touch "$work/stop"
kill -CONT "$guard"
ended 79

echo "-- the arena is removed: what is held stays held, nothing more is acquired there"
hold door
rm "/dev/shm/$arena"
let_go
[ "$code" -eq 0 ] || fail "exit $code"
