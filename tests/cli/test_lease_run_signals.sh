#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full only a change of lease-run would change it
# lease-run and signals: passed on, while it waits and while the command runs; stopped and
# continued; from a terminal, to the whole foreground job (lease-run(1), SIGNALS).
# shellcheck disable=SC2016  # $ in the commands is theirs
. "$(dirname "$0")/lease_run.bash"
mkfifo "$work/fifo"

# A command that notes each signal, once, and ends with QUIT.
cat >"$work/listen" <<'SCRIPT'
for signal in TERM INT HUP USR1 USR2 WINCH CONT; do
	trap "echo $signal >>'$1/heard'" $signal
done
trap "echo QUIT >>'$1/heard'; exit 8" QUIT
echo begun >>"$1/heard"
while :; do read -t 0.02 <>"$1/fifo"; done
SCRIPT
state_of() { ps -o stat= -p "$1" | cut -c1; }
is_state() { [ "$(state_of "$1")" = "$2" ]; }
child_of() { cat "/proc/$1/task/$1/children"; }

echo "-- passed on while the command runs"
# A shell's background job without job control has SIGINT and SIGQUIT ignored: set -m.
set -m
: >"$work/heard"
lease-run door -- bash "$work/listen" "$work" &
holder=$!
until_true grep -q begun "$work/heard"
for signal in TERM INT HUP USR1 USR2 WINCH CONT; do
	kill -"$signal" "$holder"
	until_true grep -q "^$signal\$" "$work/heard"
done

echo "-- stopped and continued; the lock stays"
: >"$work/heard"
guard=$(child_of "$holder")
command=$(child_of "${guard% }")
kill -TSTP "$holder"
until_true is_state "$holder" T
until_true is_state "${command% }" T
expect 75 lease-run -n door -- true
kill -CONT "$holder"
until_true grep -q CONT "$work/heard"
! is_state "$holder" T || fail "stopped still"
kill -QUIT "$holder"
code=0
wait "$holder" || code=$?
[ "$code" -eq 8 ] || fail "exit $code after SIGQUIT, which the command exits 8 on"
[ "$(sort "$work/heard" | uniq -d)" = "" ] || fail "heard twice: $(cat "$work/heard")"

echo "-- killed by what was passed on"
hold door
kill -TERM "$holder"
code=0
wait "$holder" || code=$?
[ "$code" -eq 143 ] || fail "exit $code, not 143"

echo "-- while it waits: it is ended by the signal, nothing runs, nobody waits on"
hold door
for signal in TERM INT HUP; do
	for options in "" -F; do
		# shellcheck disable=SC2086  # it may be no word
		lease-run -v $options door -- touch "$work/ran" 2>"$work/waiter" &
		waiter=$!
		until_true grep -q 'held by' "$work/waiter"
		kill -"$signal" "$waiter"
		code=0
		wait "$waiter" || code=$?
		[ "$code" -eq $((128 + $(kill -l "$signal"))) ] || fail "$signal: exit $code"
	done
done
# jq has nothing against no input: without its arena the test would wait for ever.
nobody_waits() {
	local leases
	leases=$(lease-inspector leases "$arena" --json) || fail "the arena has gone"
	! jq -e '.leases[] | select(.waited_ns)' <<<"$leases" >/dev/null
}
until_true nobody_waits
let_go
[ ! -e "$work/ran" ] || fail "a command ran after its lease-run was ended"

echo "-- ignored by the caller: not passed on"
: >"$work/heard"
env --ignore-signal=HUP lease-run door -- bash "$work/listen" "$work" &
holder=$!
until_true grep -q begun "$work/heard"
kill -HUP "$holder"
kill -USR1 "$holder"
until_true grep -q USR1 "$work/heard"
kill -QUIT "$holder"
wait "$holder" || true
! grep -q HUP "$work/heard" || fail "an ignored signal was passed on"
set +m

echo "-- from a terminal: ^C reaches the command once; ^Z stops the job, fg continues it, the lock stays"
command -v tmux >/dev/null || { echo "SKIP: no tmux"; exit 77; }
: >"$work/heard"
server=$work/tmux
tmux -S "$server" -f /dev/null new-session -d -x 80 -y 24 \
	"env PATH='$PATH' LEASE_URL='$LEASE_URL' bash --norc -i"
keys() { tmux -S "$server" send-keys "$@"; }
keys "lease-run door -- bash '$work/listen' '$work'; echo \"code \$?\" >>'$work/heard'" Enter
until_true grep -q begun "$work/heard"
keys C-c
until_true grep -q INT "$work/heard"
keys C-z
until_true sh -c "ps -e -o stat=,args= | grep '^T.*bash $work/listen' | grep -qv grep"
expect 75 lease-run -n door -- true
keys "fg" Enter
until_true sh -c "! ps -e -o stat=,args= | grep '^T.*bash $work/listen'"
keys 'C-\'
until_true grep -q QUIT "$work/heard"
expect 0 lease-run -w 60 door -- true
[ "$(grep -c INT "$work/heard")" -eq 1 ] || fail "^C was heard more than once: $(cat "$work/heard")"
tmux -S "$server" kill-server
