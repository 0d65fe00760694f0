#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full only a change of the layout or of the printers would change it
# ctest: NOT_UNDER address the debugged program would need the sanitizer's runtime
# ctest: NOT_UNDER thread the debugged program would need the sanitizer's runtime
# tools/gdb/leasehold.py, in a process that is stopped and in its core: handles, leases, records and
# the words by themselves say what is so; and where it is installed, gdb loads it with the library.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
library=$(dirname "$(find "$LEASEHOLD_BUILD" -maxdepth 1 -name libleasehold.so -print -quit)")
name=gdb-$$
work=$(mktemp -d)
trap 'rm -rf "$work" "/dev/shm/$name"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}
skip() {
	echo "SKIP: cli.gdb: $*"
	exit 77
}
command -v gdb >/dev/null || skip "no gdb"
gdb -nx --batch -ex 'python import gdb.printing' >/dev/null 2>&1 || skip "gdb without Python"
unset DEBUGINFOD_URLS
cc -std=gnu11 -g -Wall -Wextra -Werror -I"$top/include" -o "$work/scene" \
	"$top/tests/cli/gdb/scene.c" -L"$library" -Wl,-rpath,"$library" -lleasehold -pthread

questions=(
	-ex 'print mutex' -ex 'print unplaced' -ex 'print rwlock' -ex 'print semaphore' -ex \
		'print barrier'
	-ex 'print once' -ex 'print cell'
	-ex 'print $lh_word(0x5c003)' -ex 'print $lh_word(0x48000, "rwlock")'
	-ex 'print $lh_state(0x4000000000000007)' -ex 'print $lh_hold(0x2100000000000040)'
	-ex 'print $lh_owner(0x30002)' -ex 'print $lh_edge(0x4000000003)'
	-ex 'print *lease' -ex 'print *other'
	-ex 'print ((struct lh_arena *)arena)->leases[lease->index]'
	-ex 'print *(struct object_header *)mutex.private_[1]'
	-ex 'print ((struct lh_arena *)arena)->holds[lease->index * ((struct lh_arena *)arena)->holds_per_lease]@((struct lh_arena *)arena)->holds_per_lease'
	-ex 'printf "pid %d\n", self'
	-ex 'printf "slots %d %d %d\n", lease->index, timed->index, other->index'
)
# check OUTPUT: what it must have.
check() {
	local offset pid line mine timed other
	pid=$(sed -n 's/^pid //p' "$1")
	read -r mine timed other < <(sed -n 's/^slots //p' "$1")
	offset=$(sed -n 's/^\$1 = mutex at offset \([0-9]*\):.*/\1/p' "$1")
	[ -n "$offset" ] || fail "a handle is not said to be: $(cat "$1")"
	while read -r line; do
		grep -qE "$line" "$1" || fail "$1: not there: $line in $(cat "$1")"
	done <<-END
		^\\\$1 = mutex at offset $offset: owned by slot $mine, token 1, .*\(live, pid $pid, tid $pid\)\$
		^\\\$2 = not placed\$
		^\\\$3 = rwlock at offset [0-9]*: owned by slot $timed, token 1.*\(live, pid $pid, tid $pid\)\$
		^\\\$4 = semaphore at offset [0-9]*: free, token 0\$
		^\\\$5 = barrier at offset [0-9]*: 0 phases completed\$
		^\\\$6 = once at offset [0-9]*: absent, token 0\$
		^\\\$7 = cell at offset [0-9]*: free, token 0, newest in value slot 0\$
		"owned by slot 2, token 1, mark, plain, died"
		"free, token 1, fenced"
		"live, no TTL, incarnation 7"
		"mutex exclusive at offset 4096"
		"owner entry 2, generation 3"
		"waits for offset 4096 \(sequence 1, poked\)"
		lease [0-9]*, slot $mine: live, no TTL, incarnation [0-9]*; waits for nothing
		lease [0-9]*, slot $other: live, no TTL, incarnation [0-9]*; waits for offset $offset 
		owner = "?0x[0-9a-f]*: owner entry [0-9]*, generation [0-9]*
		kind = "?0x2: mutex
		mutex (exclusive|intent) at offset $offset
	END
}

echo "-- a live process"
timeout 120 gdb -nx --batch -ex 'set width 0' -ex 'set confirm off' -ex \
	'set startup-with-shell off' \
	-ex 'set print elements 0' -x "$top/tools/gdb/leasehold.py" -ex 'break scene.c:look' -ex \
	"run $name" "${questions[@]}" \
	-ex 'set use-coredump-filter off' -ex "generate-core-file $work/core" -ex 'delete' -ex \
	'continue' \
	"$work/scene" >"$work/live" 2>&1 </dev/null || fail "gdb: $(cat "$work/live")"
! grep -qi 'ptrace.*not permitted' "$work/live" || skip "nobody may trace here"
check "$work/live"
grep -q 'exited normally' "$work/live" || fail "the scene: $(cat "$work/live")"

echo "-- its core"
timeout 120 gdb -nx --batch -ex 'set width 0' -ex 'set print elements 0' -x \
	"$top/tools/gdb/leasehold.py" \
	"${questions[@]}" "$work/scene" "$work/core" >"$work/dead" 2>&1 </dev/null ||
	fail "gdb, core"
check "$work/dead"

echo "-- installed"
cmake --install "$LEASEHOLD_BUILD" --prefix "$work/prefix" --component dev >"$work/log"
cmake --install "$LEASEHOLD_BUILD" --prefix "$work/prefix" --component library >>"$work/log"
installed=$(find "$work/prefix" -name 'libleasehold.so.0.*' -not -name '*.py')
LD_LIBRARY_PATH=$(dirname "$installed") timeout 120 gdb -nx --batch -iex "set data-directory $(
	gdb -nx --batch -ex 'show data-directory' | sed 's/.*"\(.*\)"\.$/\1/'
)" -iex "add-auto-load-scripts-directory $work/prefix/share/gdb/auto-load" \
	-iex "add-auto-load-safe-path $work/prefix" -ex 'set startup-with-shell off' -ex \
	'break scene.c:look' \
	-ex "run $name-2" -ex 'print mutex' -ex 'delete' -ex 'continue' "$work/scene" \
	>"$work/auto" 2>&1 </dev/null ||
	fail "gdb, installed: $(cat "$work/auto")"
readelf -d "$work/scene" | grep -q 'RUNPATH' ||
	skip "the program's search path cannot be overridden"
grep -q '^\$1 = mutex at offset [0-9]*: owned by slot [0-9]*, token 1' "$work/auto" ||
	fail "it is not loaded with the library: $(cat "$work/auto")"
