#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What lease-inspector's verbs show in a real terminal (tmux), of an arena under load, with a
# killed, a stopped and a waiting process in sight; and of damaged copies of it, in which nothing
# but printable characters may reach the terminal.
# ctest: TIMEOUT 300
# ctest: TIER full only a change of lease-inspector would change it
. "$(dirname "$0")/lease_run.bash"
command -v tmux >/dev/null || { echo "SKIP: cli.inspector_terminal: no tmux"; exit 77; }

in_tmux -f /dev/null new-session -d -s eyes -x 170 -y 50 'exec sleep 1000'
# in_terminal CODE WORD...: runs it there, until it exits so; what is seen then: $work/seen.
in_terminal() {
	local wanted=$1
	shift
	begin_in eyes "LC_ALL=C.UTF-8 $*"
	until_true has_ended eyes
	in_tmux capture-pane -p -t eyes >"$work/seen"
	[[ $wanted == *"$(cat "$work/exit")"* ]] ||
		fail "$*: exit $(cat "$work/exit"): $(cat "$work/seen")"
}
# sees PATTERN...: each is in a line of what is seen.
sees() {
	local pattern
	for pattern in "$@"; do
		grep -Eq -- "$pattern" "$work/seen" ||
			fail "$pattern is not to be seen: $(cat "$work/seen")"
	done
}

# A lock of its own for each, the killed one's wanted by nobody: that is cleared up by whoever wants
# it.
hold stands --ttl 1h
stopped=$(guard_of "$holder")
kill -STOP "$stopped"
lease-run -w 100 stands -- true &
waits=$!
hold killed --ttl 1h
killed=$(guard_of "$holder")
kill -KILL "$killed"
let_go
(while [ -d "$work" ]; do lease-run busy -- true || true; done) >/dev/null 2>&1 &
load=$!
trap 'kill "$load" "$waits" 2>/dev/null || true; kill -KILL "$stopped" 2>/dev/null || true
	in_tmux kill-server 2>/dev/null || true; rm -rf "$work" "/dev/shm/$arena" "/dev/shm/$arena-"*' EXIT
until_true sh -c "lease-inspector procs $arena | grep -q stopped"
until_true sh -c "lease-inspector leases $arena --json |
	jq -e '.leases[] | select(.waits_for > 0)' >/dev/null"

echo "-- list, leases, procs, show, tree"
in_terminal 0 lease-inspector list "$arena"
sees '^NAME .* WAITED TOKEN FLAGS$' \
	"^named locks  .* lost  .* $stopped lease-run-guard .* 1 .* array$"
in_terminal 0 "lease-inspector list $arena --all | head -n 20"
sees "^named locks\[0\] .* held  *exclusive  *$stopped " \
	"^named locks\[1\] .* lost  *exclusive  *$killed "
in_terminal 0 lease-inspector leases "$arena"
sees "^[0-9]+ live  *$stopped  *[0-9]+ stopped " "^[0-9]+ dead  *$killed  *[0-9]+ gone " \
	'^[0-9]+ live .* sleeping .* named locks\[0\] '
in_terminal 0 lease-inspector procs "$arena"
sees "^ *$stopped .* stopped " "^ *$killed .* gone " ' sleeping  *yes  *1  *0  *0  *1 '
in_terminal 0 lease-inspector show "$arena" "'named locks[0]'"
sees '^state  *held$' "^ *[0-9]+ live  *$stopped stopped " '^ *WAITER ' \
	'^ *[0-9]+ live .* sleeping '
in_terminal 0 lease-inspector show "$arena" "'named locks[1]'"
sees '^state  *lost$' "^ *[0-9]+ dead  *$killed gone "
in_terminal 0 lease-inspector tree "$arena"
sees "^lease [0-9]+ .* $stopped live " '^└─named locks\[0\] ' '^  └─lease [0-9]+ .* live  waits ' \
	"^lease [0-9]+ .* $killed dead "
in_terminal 3 lease-inspector check "$arena"
sees '^stale .* dead, not yet cleared' "^$arena: stale$"

echo "-- top"
in_tmux respawn-pane -k -t eyes \
	"LC_ALL=C.UTF-8 lease-inspector top $arena --delay 0.2; exec sleep 1000"
tops() { in_tmux capture-pane -p -t eyes | grep -Eq -- "$1"; }
until_true tops '^grants/s .*[▁▂▃▄▅▆▇█]'
until_true tops "^ *[0-9]+ .* $stopped .* stopped |^ *[0-9]+  *$stopped "
until_true tops "$killed .* (dead|gone) "
until_true tops ' named locks\[0\]'
in_tmux send-keys -t eyes q

echo "-- damaged copies of it"
for seed in 1 2; do
	cp "/dev/shm/$arena" "/dev/shm/$arena-damaged"
	python3 - "/dev/shm/$arena-damaged" $seed <<'PYTHON'
import random, sys
random.seed(int(sys.argv[2]))
with open(sys.argv[1], "r+b") as file:
    for _ in range(3000):
        file.seek(random.randrange(256, 1500000))
        file.write(bytes([random.choice([0x1b, 0x9b, 0xff, random.randrange(256)])]))
PYTHON
	for verb in list leases procs tree history check "show 'named locks'"; do
		read -r name object <<<"$verb"
		# Whatever it finds: it ends, and neither clears the screen nor writes into its
		# title.
		in_terminal '0 1 2 3 4 5' \
			"echo begins; lease-inspector $name $arena-damaged $object | head -n 40"
		sees '^begins$'
	done
	in_terminal '0 1 2' "lease-inspector top $arena-damaged --count 2 --delay 0.01 | tail -n 40"
	sees "^$arena-damaged|OBJECT|LEASE"
done
[ "$(in_tmux display-message -p -t eyes '#{alternate_on}')" = 0 ] ||
	fail "the screen was not given back"
