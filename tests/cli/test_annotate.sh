#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: NOT_UNDER thread the library must be one that was not compiled for it
# ctest: NOT_UNDER address programs that are compiled for ThreadSanitizer cannot load it then
# leasehold/annotate.h: two threads that share plain data under a primitive have no report by a race
# detector, and have one when they share it beside the primitive; without annotations, always.
# ctest: TIER ci it runs race detectors, and only a change of annotate.h would change it
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
library=$(dirname "$(find "$LEASEHOLD_BUILD" -maxdepth 1 -name libleasehold.so -print -quit)")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=$top/tests/cli/annotate/race.c
kinds=(mutex rwlock semaphore barrier condvar once cell watch release region cancel fence claim changed
	loss lost_wait)
skipped=
fail() {
	echo "FAIL: $*"
	exit 1
}
# build COMPILER PROGRAM FLAG…
build() {
	"$1" -std=gnu11 -g -O1 -Wall -Wextra -Werror -I"$top/include" "${@:3}" -o "$work/$2" \
		"$source" \
		-L"$library" -Wl,-rpath,"$library" -lleasehold -pthread
}
# try EXPECTED KIND LINE COMMAND…: 0 for no report, 66 for one, which names the step of that kind.
try() {
	local status=0
	echo "-- ${*:2}"
	timeout 200 "${@:4}" >"$work/out" 2>&1 || status=$?
	[ $status -eq "$1" ] || fail "exit status $status instead of $1: $(tail -40 "$work/out")"
	[ "$1" -eq 0 ] || grep -q "$3" "$work/out" || fail "no report of $3: $(cat "$work/out")"
}

export TSAN_OPTIONS="suppressions=$top/tools/annotate/tsan.supp exitcode=66"
for compiler in gcc clang; do
	if ! echo 'int main(void) { return 0; }' |
		"$compiler" -fsanitize=thread -x c -o "$work/none" - 2>/dev/null ||
		! "$work/none"; then
		skipped+="; no ThreadSanitizer of $compiler"
		continue
	fi
	build $compiler plain -fsanitize=thread -DLH_NO_ANNOTATIONS
	build $compiler called -fsanitize=thread
	build $compiler inlined -fsanitize=thread -DINLINED
	try 66 "$compiler plain" by_mutex "$work/plain" mutex
	for kind in "${kinds[@]}"; do
		for program in called inlined; do
			try 0 "$compiler $program" none "$work/$program" "$kind"
			# A lease that is acquired takes locks of the library's, which order as
			# well.
			[ "$kind" = release ] ||
				try 66 "$compiler $program" "by_$kind" "$work/$program" "$kind" race
		done
	done
done

echo "-- what the detectors do not see costs nothing"
build cc off
build cc without -DLH_NO_ANNOTATIONS
diff <(objdump --disassemble --no-show-raw-insn "$work/off" | tail -n +4) \
	<(objdump --disassemble --no-show-raw-insn "$work/without" | tail -n +4) ||
	fail "the header changes a program that is compiled as usual"

if command -v valgrind >/dev/null && [ -e /usr/include/valgrind/helgrind.h ]; then
	build cc noted -DLH_ANNOTATE_VALGRIND
	run=(valgrind --quiet --fair-sched=try --error-exitcode=66
		--suppressions="$top/tools/annotate/valgrind.supp")
	try 66 "without annotations" by_mutex "${run[@]}" --tool=helgrind "$work/without" mutex
	for kind in "${kinds[@]}"; do
		try 0 helgrind none "${run[@]}" --tool=helgrind "$work/noted" "$kind"
		[ "$kind" = release ] || try 66 helgrind "by_$kind" "${run[@]}" --tool=helgrind \
			"$work/noted" "$kind" race
	done
	try 0 drd none "${run[@]}" --tool=drd "$work/noted" mutex
	try 66 drd by_mutex "${run[@]}" --tool=drd "$work/noted" mutex race
else
	skipped+="; no valgrind"
fi
[ -z "$skipped" ] || {
	echo "SKIP: cli.annotate: ${skipped#; }; the rest passed"
	exit 77
}
