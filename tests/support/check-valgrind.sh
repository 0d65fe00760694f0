#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# valgrind finds no errors. It knows no futex_waitv, so this run also shows the fallback for kernels
# without. Leaks are left to check-asan.sh: valgrind takes what other threads of its parent had for lost in
# every forked child.
. "$(dirname "$0")/check.bash"
wrapper='valgrind;--quiet;--error-exitcode=99;--leak-check=no;--fair-sched=yes;--trace-children=yes;--vgdb=no'
wrapper+=";--trace-children-skip=/bin/*,/usr/bin/*;--log-file=$trees/valgrind/reports/report.%p"
if [ -f "$top/tests/support/valgrind.supp" ]; then
	wrapper+=";--suppressions=$top/tests/support/valgrind.supp"
fi
# Debian 12's valgrind reads gcc's debug information, but not all of clang's.
configure valgrind -DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++ \
	-DLEASEHOLD_INSTRUMENT=valgrind -DLEASEHOLD_TEST_WRAPPER="$wrapper"
fresh_reports valgrind
status=0
run_labels valgrind unit contract || status=$?
if [ -z "$(ls "$reports")" ]; then
	echo "No process ran under valgrind: each would have left a file in $reports"
	exit 1
fi
# What it says of a system call that it does not know is no error.
unknown_call='WARNING: unhandled .* syscall|You may be able to write|Read the file README_MISSING'
sed -i -E "/^(==|--)[0-9]+(==|--) ($unknown_call|Nevertheless we consider|it at http)/d" "$reports"/*
# One child of test_placement.c ends by writing to a read-only arena, as it is to.
for report in "$reports"/*; do
	! grep -q 'writing_through_a_read_only_arena_is_a_fault' "$report" || rm "$report"
done
refuse_reports
exit $status
