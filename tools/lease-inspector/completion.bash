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

# What the word that stands on the command line means, without having it expanded: a lone quote at
# its begin is one that is still open.
_lease_inspector_plain()
{
	local word=$1 quote=
	case $word in \'* | \"*) quote=${word:0:1} word=${word:1} ;; esac
	if [[ $quote == \' ]]; then
		word=${word//\'\\\'\'/\'}
	else
		word=$(sed -E 's/\\(.)/\1/g' <<<"$word")
	fi
	printf '%s' "${word%"$quote"}"
}

# The name as it has to be typed behind what is typed already. Names are anybody's: nothing in them
# may mean anything to the shell.
_lease_inspector_quoted()
{
	local name=$1 typed=$2
	# shellcheck disable=SC2001 # a set of characters
	case $typed in
	\'*) printf '%s' "${name//\'/\'\\\'\'}" ;;
	\"*) sed 's/["$`\\]/\\&/g' <<<"$name" ;;
	*) printf '%q' "$name" ;;
	esac
}

# The first column of a table without headings, in which all that is not plain is written \xHH: each
# name that begins with $plain goes to COMPREPLY.
_lease_inspector_names()
{
	local line name
	while IFS= read -r line; do
		printf -v name '%b' "$line"
		if [[ $name != - && $name == "$plain"* ]]; then
			COMPREPLY+=("$(_lease_inspector_quoted "$name" "$word")")
		fi
	done < <("${COMP_WORDS[0]}" "$@" --noheadings --color=never -o NAME 2>/dev/null)
}

_lease_inspector()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} index
	local words=() offered=() candidate plain
	plain=$(_lease_inspector_plain "$word")
	COMPREPLY=()
	for ((index = 1; index < COMP_CWORD; index++)); do
		case ${COMP_WORDS[index]} in
		-o | --output | -w | --watch | -d | --delay | -c | --count | -t | --timeout) \
			index=$((index + 1)) ;;
		-* | = | auto | always | never) ;;
		*) words+=("$(_lease_inspector_plain "${COMP_WORDS[index]}")") ;;
		esac
	done
	if [[ $word == -* ]]; then
		mapfile -t offered < <(_lease_inspector_options "${words[@]:0:1}")
	elif [[ $previous == --color ||
		($previous == '=' && ${COMP_WORDS[COMP_CWORD - 2]} == --color) ]]; then
		offered=(auto always never)
	elif [[ $previous == -o || $previous == --output ]]; then
		mapfile -t offered < <("${COMP_WORDS[0]}" "${words[0]-}" --help 2>/dev/null |
			sed -nE 's/^(Columns|and, if asked for): //p' | tr ' ' '\n')
	elif [[ $previous =~ ^(-w|--watch|-d|--delay|-c|--count|-t|--timeout)$ ]]; then
		return
	elif [ ${#words[@]} -eq 0 ]; then
		mapfile -t offered < <(_lease_inspector_verbs)
	elif [ ${#words[@]} -eq 1 ]; then
		_lease_inspector_names arenas
	elif [ ${#words[@]} -eq 2 ] && [[ ${words[0]} =~ ^(show|break|rm)$ ]]; then
		_lease_inspector_names list "${words[1]}"
	fi
	for candidate in "${offered[@]}"; do
		if [[ $candidate == "$word"* ]]; then
			COMPREPLY+=("$candidate")
		fi
	done
}

complete -F _lease_inspector lease-inspector
