#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Both demonstrations in a real terminal (tmux): what is drawn stays in its place, in 80 columns, in
# 40 and after the terminal has changed; Ctrl-C ends them, with nothing left. And demo-count with its
# defaults, as tools/demo runs it.
# ctest: TIMEOUT 300
# ctest: TIER full only a change of a demonstration would change it
. "$(dirname "$0")/lease_run.bash"
command -v tmux >/dev/null || { echo "SKIP: cli.demo_terminal: no tmux"; exit 77; }

screen() { in_tmux capture-pane -p -t demo; }
shows() { screen | grep -Eq -- "$1"; }
in_tmux -f /dev/null new-session -d -s demo -x 80 -y 24 'exec sleep 1000'
trap 'in_tmux kill-server 2>/dev/null || true; rm -rf "$work" "/dev/shm/$arena"' EXIT
# begin WORD...: runs it there.
begin() { begin_in demo "trap : INT; LC_ALL=C.UTF-8 $*"; }
# interrupted NAME: Ctrl-C ends it as a signal or its own handler does, with nothing left. The number of
# its process, the first of that name there, is in the arena's name: others may be about, of other tests.
interrupted() {
	local in_session pid
	in_session=(-s "$(in_tmux display-message -p -t demo '#{pane_pid}')" -x "$1")
	pid=$(pgrep --oldest "${in_session[@]}")
	in_tmux send-keys -t demo C-c
	until_true has_ended demo
	[ "$(cat "$work/exit")" -eq $((128 + 2)) ] || fail "$1: exit $(cat "$work/exit"): $(screen)"
	while pgrep "${in_session[@]}" >/dev/null; do sleep 0.02; done
	! compgen -G "/dev/shm/$1-$pid-*" || fail "$1: an arena was left behind"
}

# Each lock has one line, which begins at the left margin and is within the terminal.
one_line_each() {
	screen >"$work/seen"
	local lock
	for lock in 'pthread robust mutex' 'Leasehold mutex' sem_t pthread_rwlock; do
		[ "$(grep -c "^$lock *|" "$work/seen")" -eq 1 ] || return 1
	done
}
# It stays so, while it is drawn over some times.
stays_one_line_each() {
	local look
	for look in {1..8}; do
		one_line_each || fail "look $look: $(screen)"
		sleep 0.05
	done
}
wide='^Leasehold mutex *\|=+ *\| *[0-9]+/s'
narrow='^Leasehold mutex *\|\| *[0-9]+/s'
long=10000 # seconds: longer than any test, so that it surely runs on until Ctrl-C

echo "-- survive, in 80 columns, then 40, then 80; Ctrl-C when the holders have been killed"
begin demo-survive $long
until_true shows "$wide"
one_line_each || fail "$(screen)"
until_true shows '^pthread_rwlock .* stands still for '
one_line_each || fail "$(screen)"
until_true shows '^Leasehold mutex .* goes on, [0-9.]+ ms later'
in_tmux resize-window -t demo -x 40 -y 12
until_true shows "$narrow"
stays_one_line_each
in_tmux resize-window -t demo -x 80 -y 24
until_true shows "$wide"
stays_one_line_each
interrupted demo-survive

echo "-- survive, narrow from its start; Ctrl-C with the first bars"
in_tmux resize-window -t demo -x 40 -y 12
begin demo-survive $long
until_true shows "$narrow"
one_line_each || fail "$(screen)"
interrupted demo-survive

echo "-- survive, to its end"
in_tmux resize-window -t demo -x 80 -y 24
begin demo-survive 2
until_true has_ended demo
[ "$(cat "$work/exit")" -eq 0 ] || fail "exit $(cat "$work/exit"): $(screen)"
one_line_each || fail "$(screen)"
shows '^Leasehold went on' || fail "$(screen)"
in_tmux resize-window -t demo -x 40 -y 12

echo "-- count, narrow: its one line is drawn over"
mkdir "$work/files"
seq 200000 >"$work/files/numbers"
begin demo-count --kills 60000 --kill-every 20 "$work/files"
# One line, or between two passes none.
one_pass_line() {
	screen >"$work/seen"
	[ "$(grep -c '^pass [0-9]*: ' "$work/seen")" -le 1 ] || fail "$(cat "$work/seen")"
	grep -Eq '^pass [0-9]+: [0-9]+ of 1 files, [1-9]' "$work/seen"
}
until_true one_pass_line
! shows '^(recover|ecover|ies)' || fail "$(screen)"
interrupted demo-count

echo "-- count, with its defaults"
[ -n "$(find /usr/share/doc -type f -print -quit 2>/dev/null)" ] ||
	{ echo "there is nothing in /usr/share/doc to count"; exit 0; }
begin demo-count
until_true has_ended demo
[ "$(cat "$work/exit")" -eq 0 ] || fail "exit $(cat "$work/exit"): $(screen)"
shows '^equal  *in every pass' || fail "$(screen)"
