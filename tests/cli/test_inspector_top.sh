#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lease-inspector's top and watch on an arena under load, with a killed, a stopped and a waiting
# process in sight: in a real terminal (tmux), which is made smaller and larger; in a pipe; and how
# they end.
# ctest: TIMEOUT 300
# ctest: TIER full only a change of lease-inspector would change it
. "$(dirname "$0")/lease_run.bash"

echo "-- watch tells of a death, as lines of JSON, and ends as it should"
hold killed
# They may take their first look when it has happened: hence --all.
lease-inspector watch "$arena" --all --delay 0.02 >"$work/events" &
watch=$!
lease-inspector watch "$arena" --all --delay 0.02 >"$work/ended" &
ended=$!
guard=$(guard_of "$holder")
kill -KILL "$guard"
code=0
wait "$holder" || code=$?
[ "$code" -ne 0 ] || fail "the holder did not notice that it was lost"
lease-run killed -- true # recovers it
until_true grep -q '"kind":"owner-died"' "$work/events"
until_true [ -s "$work/ended" ]
# Each a line of its own.
jq -e -R 'fromjson | .version == 1 and .kind' <"$work/events" >/dev/null ||
	fail "not lines of JSON: $(cat "$work/events")"
jq -e --argjson pid "$guard" 'select(.kind == "owner-died" and .version == 1) | .pid == $pid' \
	<"$work/events" |
	grep -q true || fail "$(cat "$work/events")"
kill -TERM "$watch"
wait "$watch" || fail "exit $? on SIGTERM"
kill -INT "$ended" 2>/dev/null || fail "it ended by itself"
wait "$ended" || fail "exit $? on SIGINT"
# A closed pipe ends it though nothing happens: head has gone when the first line has come.
set +o pipefail
lease-inspector watch "$arena" --all --delay 0.02 | head -n 1 >"$work/first"
[ "${PIPESTATUS[0]}" -eq 0 ] || fail "exit ${PIPESTATUS[0]} on a closed pipe"
set -o pipefail
[ -s "$work/first" ] || fail "--all shows nothing of what was"

echo "-- who does not read does not keep them from ending; and a write that fails ends them"
mkfifo "$work/unread"
exec 9<>"$work/unread" # a reader that never reads
lease-inspector top "$arena" --delay 0.001 >&9 &
stuck=$!
trap 'kill -KILL "$stuck" 2>/dev/null || true; rm -rf "$work" "/dev/shm/$arena"' EXIT
until_true python3 -c 'import select, sys; sys.exit(bool(select.select([], [9], [], 0)[1]))'
until ! jobs -rp | grep -qx "$stuck"; do
	kill -TERM "$stuck" 2>/dev/null || true
	sleep 0.02
done
wait "$stuck" || fail "top: exit $? on SIGTERM, with its output not read"
exec 9>&-
expect 2 sh -c "lease-inspector top $arena --delay 0.001 >/dev/full"
[[ $err == *'No space left'* ]] || fail "top does not say what failed: $err"
expect 2 sh -c "lease-inspector watch $arena --all --delay 0.001 >/dev/full"
[[ $err == *'No space left'* ]] || fail "watch does not say what failed: $err"

echo "-- a stopped holder, one who waits for it, and load"
hold stands --ttl 1h # stopped, it renews nothing, and the rest takes its time
stopped=$(guard_of "$holder")
kill -STOP "$stopped"
lease-run -w 100 stands -- true &
waits=$!
(while [ -d "$work" ]; do lease-run busy -- true || true; done) >/dev/null 2>&1 &
load=$!
trap 'kill "$load" "$waits" "$holder" 2>/dev/null || true; kill -KILL "$stopped" 2>/dev/null || true
	rm -rf "$work" "/dev/shm/$arena"' EXIT
until_true sh -c "lease-inspector procs $arena | grep -q stopped"
until_true sh -c "lease-inspector leases $arena --json | jq -e '.leases[] | select(.waits_for > 0)' >/dev/null"

echo "-- top in a pipe: frames"
lease-inspector top "$arena" --count 3 --delay 0.3 >"$work/frames"
[ "$(grep -c '^grants/s ' "$work/frames")" -eq 3 ] || fail "$(cat "$work/frames")"
grep -q ' stopped ' "$work/frames" || fail "no stopped process: $(cat "$work/frames")"
grep -q 'named locks\[' "$work/frames" || fail "nobody waits: $(cat "$work/frames")"
! grep -q $'\033' "$work/frames" || fail "escapes in a pipe"
COLUMNS=40 lease-inspector top "$arena" --count 1 | LC_ALL=C awk 'length > 40 { exit 1 }' ||
	fail "too wide"
set +o pipefail
lease-inspector top "$arena" --delay 0.05 | head -n 3 >/dev/null
[ "${PIPESTATUS[0]}" -eq 0 ] || fail "exit ${PIPESTATUS[0]} on a closed pipe"
set -o pipefail

command -v tmux >/dev/null || { echo "SKIP: cli.inspector_top: no tmux"; exit 77; }
echo "-- top in a terminal"
screen() { in_tmux capture-pane -p -t top; }
shows() { screen | grep -q -- "$1"; }
in_tmux -f /dev/null new-session -d -s top -x 140 -y 30 'exec sleep 1000'
begin_in top "LC_ALL=C.UTF-8 lease-inspector top $arena --delay 0.2"
until_true shows 'grants/s'
until_true shows ' stopped '
until_true shows 'named locks\[.*' # who waits, and for what
until_true shows 'by grants'
# Load: some look sees a grant, and its bar.
until_true sh -c \
	"tmux -S '$server' capture-pane -p -t top | grep '^grants/s' | grep -q '[▁▂▃▄▅▆▇█]'"
in_tmux send-keys -t top s
until_true shows 'by waiters'
in_tmux resize-window -t top -x 60 -y 12
until_true sh -c "tmux -S '$server' capture-pane -p -t top | grep -q '^OBJECT  *TYPE  *STATE' &&
	! tmux -S '$server' capture-pane -p -t top | grep -q 'LONGEST'"
# Objects do not push the leases off a small screen.
until_true shows '^ *LEASE  *PID'
in_tmux resize-window -t top -x 160 -y 40
until_true shows LONGEST
in_tmux send-keys -t top q
until_true has_ended top
[ "$(cat "$work/exit")" -eq 0 ] || fail "exit $(cat "$work/exit")"
# The screen is as it was.
! shows LONGEST || fail "the screen was not cleared: $(screen)"
[ "$(in_tmux display-message -p -t top '#{alternate_on}')" = 0 ] ||
	fail "the screen was not given back"

echo "-- and a signal gives the screen back, too"
begin_in top "sh -c 'echo \$\$ >$work/pid; exec lease-inspector top $arena'"
until_true shows 'grants/s'
kill -TERM "$(cat "$work/pid")"
until_true has_ended top
[ "$(cat "$work/exit")" -eq 0 ] || fail "exit $(cat "$work/exit")"

echo "-- colours in a terminal, unless NO_COLOR is set"
# in_terminal NAME COMMAND: its output there, with what colours it, in $work/NAME.
in_terminal() {
	begin_in top "$2"
	until_true has_ended top
	in_tmux capture-pane -p -e -t top >"$work/$1"
}
in_terminal auto "lease-inspector leases $arena"
in_terminal none "NO_COLOR=1 lease-inspector leases $arena"
in_terminal asked "NO_COLOR=1 lease-inspector leases $arena --color"
grep -q $'\033' "$work/auto" || fail "no colour in a terminal: $(cat "$work/auto")"
grep -q $'\033' "$work/asked" || fail "no colour though it was asked for: $(cat "$work/asked")"
! grep -q $'\033' "$work/none" || fail "colour in spite of NO_COLOR: $(cat "$work/none")"
grep -q 'LEASE .*STATE' "$work/none" && grep -q ' live ' "$work/none" ||
	fail "no table: $(cat "$work/none")"
in_tmux kill-server
kill -CONT "$stopped"
kill "$load"
wait "$load" 2>/dev/null || true
let_go
wait "$waits" || fail "the waiter did not get it"
