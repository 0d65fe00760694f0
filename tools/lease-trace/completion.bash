# SPDX-License-Identifier: Apache-2.0
# Completion of lease-trace in bash. Scripts and options are read from the program itself.

_lease_trace()
{
	local word=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]} words
	COMPREPLY=()

	if [ "$COMP_CWORD" -gt 2 ] ||
		{ [ "$COMP_CWORD" -eq 2 ] && [ "${COMP_WORDS[1]}" != --print ]; }; then
		return # bpftrace's options
	fi
	if [[ $word == */* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	fi
	words=$("$program" --list 2>/dev/null | awk '{ print $1 }')
	[ "$COMP_CWORD" -ne 1 ] ||
		words+=" $("$program" --help 2>/dev/null |
		grep -oE -- '--(list|print|version|help)' | sort -u)"
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _lease_trace lease-trace
