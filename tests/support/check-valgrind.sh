#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# valgrind finds neither errors nor leaks. It knows no futex_waitv, so this run also shows the
# fallback for kernels without.
. "$(dirname "$0")/check.bash"
wrapper='valgrind;--quiet;--error-exitcode=99;--leak-check=full;--show-leak-kinds=definite'
wrapper+=';--errors-for-leak-kinds=definite;--fair-sched=yes;--trace-children=yes'
wrapper+=";--trace-children-skip=/bin/*,/usr/bin/*;--log-file=$trees/valgrind/reports/report.%p"
if [ -f "$top/tests/support/valgrind.supp" ]; then
	wrapper+=";--suppressions=$top/tests/support/valgrind.supp"
fi
configure valgrind -DLEASEHOLD_INSTRUMENT=valgrind -DLEASEHOLD_TEST_WRAPPER="$wrapper"
fresh_reports valgrind
status=0
run_labels valgrind 'unit|contract' || status=$?
# What it says of a system call that it does not know is no error.
sed -i -E '/^(==|--)[0-9]+(==|--) (WARNING: unhandled .* syscall|You may be able to write|Read the file README_MISSING|Nevertheless, it.s)/d' \
	"$reports"/*
refuse_reports
exit $status
