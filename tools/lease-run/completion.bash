# SPDX-License-Identifier: Apache-2.0
# Completion of lease-run in bash. What options there are, and which want a value, is read from
# `lease-run --help`.

# _lease_run_options [VALUE]: the options; with VALUE only those that want one.
_lease_run_options()
{
	local value=
	[ -z "${1-}" ] || value='[= ][A-Za-z]'
	"${COMP_WORDS[0]}" --help 2>/dev/null | grep -E "^ {2,6}(-., )?--[a-z-]+$value" |
		sed -E 's/^ +//; s/((-., )?--[a-z-]+).*/\1/; s/,//' | tr ' ' '\n'
}

_lease_run()
{
	local word=${COMP_WORDS[COMP_CWORD]} with_value index=1 last
	COMPREPLY=()
	with_value=" $(_lease_run_options VALUE | tr '\n' ' ')"

	# Up to NAME; `=` is a word of its own.
	while [ "$index" -lt "$COMP_CWORD" ]; do
		last=${COMP_WORDS[index]}
		[[ $last == -* ]] || break
		index=$((index + 1))
		[ "$last" != -- ] || break
		[[ $with_value == *" $last "* ]] || continue
		[ "${COMP_WORDS[index]-}" != = ] || index=$((index + 1))
		if [ "$index" -ge "$COMP_CWORD" ]; then
			[ "$last" != --on-lost ] ||
				mapfile -t COMPREPLY < <(compgen -W 'term kill ignore' -- \
				"${word#=}")
			return
		fi
		index=$((index + 1))
	done

	if [ "$index" -eq "$COMP_CWORD" ]; then # an option, or NAME, which nobody lists
		[[ $word != -* ]] ||
			mapfile -t COMPREPLY < <(compgen -W "$(_lease_run_options)" -- "$word")
		return
	fi
	index=$((index + 1))
	if [ "$index" -eq "$COMP_CWORD" ] && [[ $word == -* ]]; then
		COMPREPLY=(--)
		return
	fi
	[ "${COMP_WORDS[index]}" != -- ] || index=$((index + 1))
	if declare -F _command_offset >/dev/null; then # of bash-completion
		_command_offset "$index"
	elif [ "$index" -eq "$COMP_CWORD" ]; then
		mapfile -t COMPREPLY < <(compgen -c -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}

complete -F _lease_run lease-run
