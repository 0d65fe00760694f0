#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/man/lease-inspector.1 describes the options and verbs that lease-inspector has, and no other.
set -euo pipefail
manual=$(dirname "$0")/../../docs/man/lease-inspector.1
inspector=$LEASEHOLD_BIN/lease-inspector
help=$("$inspector" --help)
verbs=$(sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' <<<"$help" | sort -u)
options=$({
	echo "$help"
	for verb in $verbs; do "$inspector" "$verb" --help; done
} | sed -n 's/^ .*--\([a-z-]*\).*/\1/p' | sort -u)

# same WHAT FROM-HELP FROM-MANUAL
same() {
	if [ -z "$2" ] || [ "$2" != "$3" ]; then
		echo "the $1 of --help and of the manual differ:"
		diff <(echo "$2") <(echo "$3") || true
		exit 1
	fi
}
same verbs "$verbs" "$(sed -n 's/^\.It Cm \([a-z]*\).*/\1/p' "$manual" | sort -u)"
same options "$options" "$(sed -n 's/^\.It Fl \(.* \)\{0,1\}-\([a-z-]*\)\( Ar .*\)\{0,1\}$/\2/p' "$manual" |
	sort -u)"
