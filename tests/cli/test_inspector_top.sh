#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lease-inspector's top and watch on an arena under load, with a killed, a stopped and a waiting process in
# sight: in a real terminal (tmux), which is made smaller and larger; in a pipe; and how they end.
# ctest: TIMEOUT 180
. "$(dirname "$0")/lease_run.bash"

echo "-- watch tells of a death, as lines of JSON, and ends as it should"
hold killed
lease-inspector watch "$arena" --delay 0.02 >"$work/events" &
watch=$!
lease-inspector watch "$arena" --delay 0.02 >"$work/ended" &
ended=$!
guard=$(guard_of "$holder")
kill -KILL "$guard"
code=0
wait "$holder" || code=$?
[ "$code" -ne 0 ] || fail "the holder did not notice that it was lost"
lease-run killed -- true # recovers it
until_true grep -q '"kind":"owner-died"' "$work/events"
jq -e --argjson pid "$guard" 'select(.kind == "owner-died" and .version == 1) | .pid == $pid' <"$work/events" |
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

echo "-- a stopped holder, one who waits for it, and load"
hold stands
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
COLUMNS=40 lease-inspector top "$arena" --count 1 | LC_ALL=C awk 'length > 40 { exit 1 }' || fail "too wide"
set +o pipefail
lease-inspector top "$arena" --delay 0.05 | head -n 3 >/dev/null
[ "${PIPESTATUS[0]}" -eq 0 ] || fail "exit ${PIPESTATUS[0]} on a closed pipe"
set -o pipefail

command -v tmux >/dev/null || { echo "SKIP: cli.inspector_top: no tmux"; exit 77; }
echo "-- top in a terminal"
server=$work/tmux
in_tmux() { tmux -S "$server" "$@"; }
screen() { in_tmux capture-pane -p -t top; }
shows() { screen | grep -q -- "$1"; }
in_tmux -f /dev/null new-session -d -s top -x 140 -y 30 \
	"LC_ALL=C.UTF-8 lease-inspector top $arena --delay 0.2; echo \"exit \$?\" >$work/exit; exec sleep 100"
until_true shows 'grants/s'
until_true shows ' stopped '
until_true shows 'named locks\[.*' # who waits, and for what
until_true shows 'by grants'
# Load: some look sees a grant, and its bar.
until_true sh -c "tmux -S '$server' capture-pane -p -t top | grep '^grants/s' | grep -q '[▁▂▃▄▅▆▇█]'"
in_tmux send-keys -t top s
until_true shows 'by waiters'
in_tmux resize-window -t top -x 60 -y 12
until_true sh -c "tmux -S '$server' capture-pane -p -t top | grep -q '^OBJECT  *TYPE  *STATE' &&
	! tmux -S '$server' capture-pane -p -t top | grep -q 'LONGEST'"
[ "$(screen | grep -c .)" -le 12 ] || fail "$(screen)"
in_tmux resize-window -t top -x 160 -y 40
until_true shows LONGEST
in_tmux send-keys -t top q
until_true [ -e "$work/exit" ]
[ "$(cat "$work/exit")" = 'exit 0' ] || fail "$(cat "$work/exit")"
until_true sh -c "! tmux -S '$server' capture-pane -p -t top | grep -q LONGEST" # the screen is as it was
[ "$(in_tmux display-message -p -t top '#{alternate_on}')" = 0 ] || fail "the screen was not given back"

echo "-- and a signal gives the screen back, too"
rm "$work/exit"
in_tmux respawn-pane -k -t top \
	"sh -c 'echo \$\$ >$work/pid; exec lease-inspector top $arena'; echo \"exit \$?\" >$work/exit; exec sleep 100"
until_true shows 'grants/s'
kill -TERM "$(cat "$work/pid")"
until_true [ -s "$work/exit" ]
[ "$(cat "$work/exit")" = 'exit 0' ] || fail "$(cat "$work/exit")"
in_tmux kill-server
kill -CONT "$stopped"
kill "$load"
wait "$load" 2>/dev/null || true
let_go
wait "$waits" || fail "the waiter did not get it"
