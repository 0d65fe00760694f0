#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ThreadSanitizer finds no race where threads share a mapping.
. "$(dirname "$0")/check.bash"
# Its shadow has fixed places, which a much randomised address space can take.
wrapper=
if setarch --addr-no-randomize true 2>/dev/null; then
	wrapper='setarch;--addr-no-randomize'
else
	echo "No right to switch address randomisation off; running with it"
fi
configure tsan -DLEASEHOLD_SANITIZE=thread -DLEASEHOLD_TEST_WRAPPER="$wrapper"
fresh_reports tsan
export TSAN_OPTIONS=log_path=$reports/report:second_deadlock_stack=1
if [ -f "$top/tests/support/tsan.supp" ]; then
	TSAN_OPTIONS+=:suppressions=$top/tests/support/tsan.supp
fi
status=0
run_labels tsan threads || status=$?
refuse_reports
exit $status
