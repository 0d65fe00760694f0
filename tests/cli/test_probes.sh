#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: NOT_UNDER address the traced program would need the sanitizer's runtime
# ctest: NOT_UNDER thread the traced program would need the sanitizer's runtime
# The probes are in the library with the arguments that docs/debugging.md lists, none of them where a free
# lock is taken or let go; each fires, as gdb sees, which needs no leave of the kernel's; lease-trace's
# scripts are understood by bpftrace and see what they say.
# ctest: TIER full only a change of a probe would change it
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
library=$(find "$LEASEHOLD_BUILD" -maxdepth 1 -name libleasehold.so -print -quit)
name=probes-$$
work=$(mktemp -d)
tracer=
trap '[ -z "$tracer" ] || kill "$tracer" 2>/dev/null || :; rm -rf "$work" "/dev/shm/$name"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}
skip() {
	echo "SKIP: cli.probes: $*"
	exit 77
}
if ! readelf --wide --notes "$library" | grep -q NT_STAPSDT; then
	skip "built without probes: sys/sdt.h (systemtap-sdt-dev) was not there, or LEASEHOLD_PROBES is off"
fi

echo "-- the list in docs/debugging.md"
# A line of the list: | `wait-start` | arena, offset, … | … |
documented=$(awk -F'|' '/^## Probes/ { on = 1; next } /^## / { on = 0 }
	on && $2 ~ /^ `[a-z-]+` $/ { gsub(/[ `]/, "", $2); print $2, split($3, argument, ",") }' \
	"$top/docs/debugging.md" | sort)
built=$(readelf --wide --notes "$library" | awk '
	/Provider: / { mine = /Provider: leasehold$/ }
	mine && /Name: / { name = $2; sub(/__/, "-", name) }
	mine && /Arguments: / { print name, NF - 1 }' | sort -u)
[ "$(wc -l <<<"$built")" -eq 6 ] || fail "not six kinds of probes, each with one count: $built"
diff <(echo "$documented") <(echo "$built") || fail "< documented, > built"

echo "-- none on a fast path"
checked=0
while read -r start size _ function; do
	case ${function%%@*} in
	lh_mutex_lock | lh_mutex_unlock | lh_rwlock_read_lock | lh_rwlock_write_lock | \
		lh_rwlock_unlock | \
		lh_semaphore_acquire | lh_semaphore_release | lh_once_call | lh_once_done | \
		lh_cell_read | \
		lh_watch_read | lh_watch_send) ;;
	*) continue ;;
	esac
	checked=$((checked + 1))
	while read -r location; do
		[ $((location)) -lt $((16#$start)) ] ||
			[ $((location)) -ge $((16#$start + 16#$size)) ] ||
			fail "$function has a probe at $location"
	done < <(readelf --wide --notes "$library" | sed -n 's/.*Location: \(0x[0-9a-f]*\),.*/\1/p')
done < <(nm --dynamic --defined-only --print-size "$library")
[ $checked -eq 12 ] || fail "found $checked of the 12 functions"

echo "-- lease-trace"
export LEASEHOLD_LIBRARY=$library LEASEHOLD_TRACE_DIR=$top/tools/lease-trace
trace=$LEASEHOLD_BIN/lease-trace
diff <("$trace" --list | awk '{ print $1 }') <(awk '{ print $1 }' <<<"$built") ||
	fail "< scripts, > probes"
! "$trace" --print nothing >"$work/out" 2>"$work/err" || fail "a script that is not there"
grep -q 'no script nothing' "$work/err" || fail "it does not say so"
echo '// a file' >"$work/grant"
diff <(cd "$work" && "$trace" --print grant) <("$trace" --print grant) ||
	fail "a file in the current directory stands in for a script"
[ "$(cd "$work" && "$trace" --print ./grant)" = '// a file' ] || fail "a file by its path"
for script in $("$trace" --list | awk '{ print $1 }'); do
	"$trace" --print "$script" >"$work/$script.bt"
	grep -qF "usdt:$(readlink -f "$library"):leasehold:${script/-/__}" "$work/$script.bt" ||
		fail "$script does not look at its probe"
	grep -qxF "*$script*" "$top/docs/man/lease-trace.1.scd" ||
		fail "lease-trace(1) lacks $script"
done

echo "-- completion"
# shellcheck source=/dev/null
. "$top/tools/lease-trace/completion.bash"
completes() {
	COMP_WORDS=("$trace" "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_lease_trace
	echo "${COMPREPLY[*]}"
}
[ "$(completes wait)" = "wait-end wait-start" ] || fail "its scripts: $(completes wait)"
[ "$(completes --print gr)" = grant ] || fail "the scripts to print"
[ "$(completes --)" = "--help --list --print --version" ] || fail "its options: $(completes --)"
[ -z "$(completes grant g)" ] || fail "bpftrace's options are not its own"

cc -std=gnu11 -Wall -Wextra -Werror -I"$top/include" -o "$work/lh-probed" \
	"$top/tests/cli/probes/scene.c" -L"$(dirname "$library")" -Wl,-rpath,"$(dirname "$library")" \
	-lleasehold

if command -v gdb >/dev/null; then
	echo "-- seen to fire, by gdb"
	{
		echo 'set debuginfod enabled off'
		echo 'break main'
		echo "run $name"
		while read -r probe count; do
			echo "break -probe-stap leasehold:${probe/-/__}"
			echo 'commands'
			echo 'silent'
			echo "printf \"fired $probe $count %lu %lu %lu\\n\", \$_probe_arg0, \$_probe_arg1, \$_probe_argc"
			echo 'continue'
			echo 'end'
		done <<<"$built"
		echo 'continue'
	} >"$work/gdb"
	gdb --nx --batch --command="$work/gdb" "$work/lh-probed" >"$work/gdb.out" 2>&1 || :
	grep -q 'exited normally' "$work/gdb.out" || fail "the scene in gdb: $(tail -20 "$work/gdb.out")"
	read -r inode offset < <(grep -E '^[0-9]+ [0-9]+$' "$work/gdb.out")
	while read -r probe count; do
		# What is told second is the offset, or, of an expiry and a loss, the slot.
		case $probe in
		expiry | loss) second='[0-9]+' ;;
		*) second=$offset ;;
		esac
		grep -qE "^fired $probe $count $inode $second $count\$" "$work/gdb.out" ||
			fail "$probe did not fire: $(grep ^fired "$work/gdb.out")"
	done <<<"$built"
fi

command -v bpftrace >/dev/null || skip "no bpftrace: the notes are right, the scripts were not tried"
[ "$(id -u)" -eq 0 ] || skip "not root: the notes are right, the scripts were not tried"
for script in "$work"/*.bt; do
	bpftrace -d "$script" >"$work/out" 2>&1 ||
		fail "$script: $(grep -v '^ ' "$work/out" | tail -5)"
done

echo "-- seen to fire, by lease-trace's scripts"
{
	cat "$work"/*.bt
	echo 'BEGIN { printf("attached\n"); }'
} >"$work/all.bt"
bpftrace "$work/all.bt" >"$work/seen" 2>&1 &
tracer=$!
# It ends by itself, saying why, where the kernel permits no probe; the time limit of the test is
# the deadline.
while ! grep -q '^attached' "$work/seen"; do
	if ! kill -0 $tracer 2>/dev/null; then
		# Of the limit that it cannot raise it only warns.
		refusal=$(grep 'ERROR: ' "$work/seen" | grep -v RLIMIT_MEMLOCK | tail -1) || :
		[ -n "$refusal" ] || fail "bpftrace: $(cat "$work/seen")"
		skip "the kernel lets nobody attach: $refusal"
	fi
	sleep 0.1
done
"$work/lh-probed" "$name" >"$work/scene" || fail "the scene"
read -r inode offset <"$work/scene"
lines=("^lh-probed.* arena $inode: slot .* waits for what is at $offset\$"
	"^lh-probed.* arena $inode: cleared up offset $offset, token 1, behind slot"
	"^lh-probed.* arena $inode: slot .* had expired [0-9]* us ago"
	"^lh-probed.* arena $inode: slot .* is lost, state 2")
# What was printed takes its time to bpftrace; these are counted up until it ends.
counts=("^@waited_us\[$inode, $offset\]" "^@grants\[lh-probed, [0-9]*, $offset\]: 1")
deadline=$((SECONDS + 120))
for line in "${lines[@]}"; do
	until grep -q "$line" "$work/seen" || [ $SECONDS -ge $deadline ]; do
		sleep 0.1
	done
done
kill -INT $tracer
wait $tracer || fail "bpftrace: $(tail -3 "$work/seen")"
tracer=
for line in "${lines[@]}" "${counts[@]}"; do
	grep -q "$line" "$work/seen" || fail "not seen: $line in $(cat "$work/seen")"
done
