#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# AddressSanitizer (with leaks) and UndefinedBehaviorSanitizer find nothing.
. "$(dirname "$0")/check.bash"
configure asan -DLEASEHOLD_SANITIZE=address,undefined
fresh_reports asan
export ASAN_OPTIONS=log_path=$reports/report:detect_stack_use_after_return=1
ASAN_OPTIONS+=:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=log_path=$reports/report:print_stacktrace=1
status=0
run_labels asan unit contract stress fuzz || status=$?
refuse_reports
exit $status
