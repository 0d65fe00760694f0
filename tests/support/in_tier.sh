#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/support/in_tier.sh TIER TEST REASON COMMAND...: runs the command, a test that has a line
# "ctest: TIER" (tests/CMakeLists.txt), unless LEASEHOLD_TIER is a smaller one than TIER.
least=$1 test=$2 reason=$3 tier=${LEASEHOLD_TIER:-full}
shift 3
case $least:$tier in
full:full | full:ci | ci:ci)
	exec "$@"
	;;
full:quick | ci:quick | ci:full)
	echo "SKIP: $test: not in the tier $tier: $reason"
	exit 77
	;;
esac
echo "LEASEHOLD_TIER is \"$tier\": quick, full and ci are known"
exit 1
