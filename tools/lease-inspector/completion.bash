# SPDX-License-Identifier: Apache-2.0
# Completion of lease-inspector in bash. Verbs and options are read from `lease-inspector --help`,
# arenas and objects from lease-inspector itself.

_lease_inspector_options()
{
	"${COMP_WORDS[0]}" "$@" --help 2>/dev/null |
		sed -nE 's/^ {2,6}((-.), )?(--[a-z-]+).*/\2 \3/p' | tr ' ' '\n'
}

_lease_inspector_verbs()
{
	"${COMP_WORDS[0]}" --help 2>/dev/null | sed -nE 's/^  ([a-z]+) .*/\1/p'
}

_lease_inspector()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} index
	local words=()
	COMPREPLY=()
	for ((index = 1; index < COMP_CWORD; index++)); do
		case ${COMP_WORDS[index]} in
		-o | --output | -w | --watch | -d | --delay | -c | --count | -t | --timeout) index=$((index + 1)) ;;
		-* | = | auto | always | never) ;;
		*) words+=("${COMP_WORDS[index]}") ;;
		esac
	done
	local offered=
	if [[ $word == -* ]]; then
		offered=$(_lease_inspector_options "${words[@]:0:1}")
	elif [[ $previous == --color || ($previous == '=' && ${COMP_WORDS[COMP_CWORD - 2]} == --color) ]]; then
		offered='auto always never'
	elif [[ $previous == -o || $previous == --output ]]; then
		offered=$("${COMP_WORDS[0]}" "${words[0]-}" --help 2>/dev/null |
			sed -nE 's/^(Columns|and, if asked for)://p')
	elif [[ $previous =~ ^(-w|--watch|-d|--delay|-c|--count|-t|--timeout)$ ]]; then
		return
	elif [ ${#words[@]} -eq 0 ]; then
		offered=$(_lease_inspector_verbs)
	elif [ ${#words[@]} -eq 1 ]; then
		offered=$("${COMP_WORDS[0]}" arenas --noheadings --raw -o NAME 2>/dev/null)
	elif [ ${#words[@]} -eq 2 ] && [[ ${words[0]} =~ ^(show|break|rm)$ ]]; then
		offered=$("${COMP_WORDS[0]}" list "${words[1]}" --noheadings --raw -o NAME 2>/dev/null)
	fi
	mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$word")
}

complete -F _lease_inspector lease-inspector
