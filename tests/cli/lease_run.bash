# SPDX-License-Identifier: Apache-2.0
# lease_run.bash: what the scripts that test lease-run share. Sourced by them.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$top/tests/support/own_shm.bash"
PATH=$LEASEHOLD_BIN:$PATH
unset LEASE_URL LEASE_NAME LEASE_SLOT LEASE_TOKEN LEASE_OWNER_DIED
arena=lease-run-test-$$
export LEASE_URL=shm://$arena
work=$(mktemp -d)
trap 'rm -rf "$work" "/dev/shm/$arena" "/dev/shm/$arena-"*' EXIT

fail() {
	echo "FAIL: $*"
	exit 1
}

# expect CODE COMMAND...: it exits so; what it says is in $out and $err, each ending in an x to keep
# its last newlines.
expect() {
	local wanted=$1 code=0
	shift
	"$@" >"$work/out" 2>"$work/err" || code=$?
	out=$(cat "$work/out" && echo x) && out=${out%x}
	err=$(cat "$work/err" && echo x) && err=${err%x}
	[ "$code" -eq "$wanted" ] || fail "exit $code, not $wanted: $*: $out$err"
}

# until_true COMMAND...: repeats it until it succeeds. A watchdog ends the whole test (ctest's
# TIMEOUT).
until_true() {
	until "$@"; do sleep 0.02; done
}

# hold NAME [OPTION...]: a background lease-run that holds it, once it does. Its pid: $holder; it
# stays until `$work/stop` is there.
hold() {
	local name=$1
	shift
	rm -f "$work/held" "$work/stop"
	lease-run "$@" "$name" -- sh -c 'echo $$ >"$0/held.new" && mv "$0/held.new" "$0/held"
		while [ -d "$0" ] && [ ! -e "$0/stop" ]; do sleep 0.02; done' "$work" &
	holder=$!
	until_true [ -e "$work/held" ]
}

# let_go: ends what `hold` began. Its exit code: $code.
let_go() {
	touch "$work/stop"
	code=0
	wait "$holder" || code=$?
}

# guard_of PID: of that lease-run.
guard_of() {
	lease-inspector leases "$arena" --json | jq -r --arg begin "lease-run $1 " \
		'.leases[] | select(.label != null and (.label | startswith($begin))) | .pid'
}

# in_tmux WORD...: a terminal (tmux) for this script alone.
server=$work/tmux
in_tmux() { tmux -S "$server" "$@"; }

# begin_in SESSION COMMAND: begins the command in that terminal. Once `until_true has_ended SESSION` is over,
# its exit code is in $work/exit, and all that it wrote is drawn: the title comes behind that, on the same
# way. That it has exited alone says nothing of how far tmux is.
ends=0
begin_in() {
	ends=$((ends + 1))
	in_tmux respawn-pane -k -t "$1" "$2; echo \$? >$work/exit
		printf '\\033]2;end $ends\\033\\\\'; exec sleep 1000"
}
has_ended() { [ "$(in_tmux display-message -p -t "$1" '#{pane_title}')" = "end $ends" ]; }
