#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full only a change of lease-run would change it
# docs/man/lease-run.1.scd describes the options that lease-run has, and its exit codes; the completion
# completes them, in bash.
. "$(dirname "$0")/lease_run.bash"
manual=$top/docs/man/lease-run.1.scd
help=$(lease-run --help)

# same WHAT FROM-HELP OTHER
same() {
	if [ -z "$2" ] || [ "$2" != "$3" ]; then
		echo "FAIL: the $1 differ:"
		diff <(echo "$2") <(echo "$3") || true
		exit 1
	fi
}
options=$(sed -nE 's/^ {2,6}(-., )?--([a-z-]+).*/\2/p' <<<"$help" | sort -u)
same 'options of --help and of the manual' "$options" \
	"$(sed -nE 's/^(\*-.\*, )?\*--([a-z-]+)\*( _.*)?$/\2/p' "$manual" | sort -u)"
same 'short options of --help and of the manual' \
	"$(sed -nE 's/^ {2,6}-(.), --.*/\1/p' <<<"$help" | sort -u)" \
	"$(sed -nE 's/^\*-(.)\*, \*--.*/\1/p' "$manual" | sort -u)"
codes=$(sed -n '/^Exits as/,$p' <<<"$help" | grep -oE '[0-9]{2,3}' | grep -v 128 | sort -u)
same 'exit codes of --help and of the manual' "$codes" \
	"$(sed -nE 's/^\*([0-9]{2,3})\*$/\1/p' "$manual" | sort -u)"
same 'variables of the command and of the manual' \
	"$(lease-run manual -- env | sed -n 's/^\(LEASE_[A-Z_]*\)=.*/\1/p' | sort)" \
	"$(sed -n 's/^\*\(LEASE_[A-Z_]*\)\*$/\1/p' "$manual" | sort)"

echo "-- completion"
# shellcheck source=/dev/null
. "$top/tools/lease-run/completion.bash"
# completes WORD...: what bash offers for the last of the words, in a line.
completes() {
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	"$(complete -p lease-run | sed 's/.*-F \([^ ]*\).*/\1/')"
	echo "${COMPREPLY[*]}"
}
offers() {
	local wanted=$1 got
	shift
	got=$(completes "$@")
	[ "$got" = "$wanted" ] || fail "completion of $*: $got, not $wanted"
}
same 'long options of --help and of the completion' "$options" \
	"$(completes lease-run -- | tr ' ' '\n' | sed 's/^--//' | sort -u)"
same 'options of --help and of the completion' \
	"$(sed -nE 's/^ {2,6}((-.), )?(--[a-z-]+).*/\2 \3/p' <<<"$help" | tr ' ' '\n' | grep . |
	sort -u)" \
	"$(completes lease-run - | tr ' ' '\n' | sort -u)"
offers --shared lease-run -n --sh
offers 'term kill ignore' lease-run --on-lost ''
offers kill lease-run --on-lost = k
offers ignore lease-run --on-lost=term --on-lost i
offers '' lease-run ''
offers '' lease-run -w ''
offers '' lease-run --url = sh
offers -- lease-run -n name -
offers lease-inspector lease-run -w 5 name -- lease-inspecto
offers lease-inspector lease-run name lease-inspecto
offers lease-inspector lease-run --ttl = 5s -s name lease-inspecto
touch "$work/argument-1"
offers "$work/argument-1" lease-run name -- cat "$work/arg"
offers '' lease-run name -- cat --sh
