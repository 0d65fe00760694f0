#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/man/lease-inspector.1.scd describes the options and verbs that lease-inspector has, and no other;
# every verb answers --help; the completion completes them, in bash.
# shellcheck disable=SC2016 # names that would be expansions
# ctest: TIER full only a change of lease-inspector would change it
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
manual=$(dirname "$0")/../../docs/man/lease-inspector.1.scd
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
same verbs "$verbs" "$(sed -n '/^# OPTIONS/q; s/^\*\([a-z]*\)\*.*/\1/p' "$manual" | sort -u)"
same options "$options" "$(sed -n \
	's/^\(\*-.\*, \)\{0,1\}\*--\([a-z-]*\)\*.*/\2/p' "$manual" |
	sort -u)"

for verb in $verbs; do
	text=$("$inspector" "$verb" --help)
	[[ $text == "usage: lease-inspector $verb"* ]] ||
		{ echo "FAIL: $verb --help: $text"; exit 1; }
done

# Options that --help of a verb does not name are refused by it, the others are not: each verb with
# each option that not all have.
# refusal OPTION: what $verb, called with $words, says of it.
refusal() {
	local option=$1 value
	case $option in
	count | delay | timeout | watch) value=1 ;;
	output) value=FROB ;;
	*) value= ;;
	esac
	"$inspector" "$verb" "${words[@]}" "--$option" ${value:+"$value"} 2>&1 && echo "it exits 0"
}
own=$(grep -vxE 'any-owner|bytes|color|ns|noheadings|raw|help|version' <<<"$options")
[ "$(wc -w <<<"$own")" -ge 9 ] || { echo "FAIL: options: $own"; exit 1; }
for verb in $verbs; do
	text=$("$inspector" "$verb" --help)
	takes=$(sed -nE 's/^ {2,6}(-., )?--([a-z-]+).*/\2/p' <<<"$text")
	read -ra words <<<"$(sed -n "1s/^usage: lease-inspector $verb \(.*\)\[OPTION.*/\1/p" \
		<<<"$text")"
	words=("${words[@]/*ARENA*/no-such-arena}")
	# Without an arena to be looked for, something else has to end it.
	[ ${#words[@]} -gt 0 ] || words=(-o FROB)
	for option in $own; do
		said=$(refusal "$option" || true)
		refused=$(grep -c -- "--$option does not go with $verb\$" <<<"$said" || true)
		taken=$(grep -cx -- "$option" <<<"$takes" || true)
		[ "$refused" -eq $((1 - taken)) ] && [[ $said != *'exits 0'* ]] ||
			{ echo "FAIL: $verb --$option, in --help $taken times: $said"; exit 1; }
	done
done

# shellcheck source=/dev/null
. "$top/tools/lease-inspector/completion.bash"
PATH=$LEASEHOLD_BIN:$PATH
# offers WANTED WORD...: what bash offers for the last of the words, sorted, in a line.
offers() {
	local wanted=$1 got
	shift
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	_lease_inspector
	got=$(printf '%s\n' "${COMPREPLY[@]}" | sort -u | tr '\n' ' ')
	[ "${got% }" = "$wanted" ] || { echo "FAIL: completion of $*: $got, not $wanted"; exit 1; }
}
offers "$(tr '\n' ' ' <<<"$verbs" | sed 's/ $//')" lease-inspector ''
offers 'leases list' lease-inspector l
offers 'always auto never' lease-inspector list --color = ''
offers '--dry-run' lease-inspector gc --dr
offers '--force' lease-inspector break --fo
offers 'COMMAND COUNT' lease-inspector list -o CO
offers '' lease-inspector top -d ''
arena=inspector-manual-$$
work=$(mktemp -d)
trap 'rm -rf "$work" "/dev/shm/$arena"*' EXIT
LEASE_URL=shm://$arena lease-run manual -- true
offers "$arena" lease-inspector show "$arena"
offers "$arena" lease-inspector --json list "$arena"
# Names are anybody's: they are offered as they have to be typed, and nothing of them is run.
offers 'named\ locks named\ locks:\ table' lease-inspector show "$arena" ''
offers 'named\ locks:\ table' lease-inspector show "$arena" 'named\ locks:'
offers 'named locks: table' lease-inspector show "$arena" "'named locks:"
hostile=$arena-'$(touch ran)'
LC_ALL=C sed 's/named locks/$(touch  X)/g' "/dev/shm/$arena" >"/dev/shm/$hostile"
cd "$work"
"$inspector" list "$hostile" | grep -qF '$(touch  X)' ||
	{ echo "FAIL: the name was not put there"; exit 1; }
offers "$(printf %q "$hostile")" lease-inspector show "$arena-"
offers "$(printf '%q %q' '$(touch  X)' '$(touch  X): table')" lease-inspector show "$(printf %q \
	"$hostile")" ''
offers '\$(touch  X) \$(touch  X): table' lease-inspector break "'$hostile'" '"'
[ -z "$(ls)" ] || { echo "FAIL: completion ran what a name says: $(ls)"; exit 1; }
same 'options of a verb in --help and in the completion' \
	"$("$inspector" break --help | sed -nE 's/^ {2,6}(-., )?--([a-z-]+).*/\2/p' | sort -u)" \
	"$(COMP_WORDS=(lease-inspector); _lease_inspector_options break | sed -n 's/^--//p' |
	sort -u)"
