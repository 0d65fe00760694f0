# SPDX-License-Identifier: Apache-2.0
# Completion of lease-bench in bash. Sub-commands, their cases and the options are read from
# `lease-bench --help`.

_lease_bench_help()
{
	"${COMP_WORDS[0]}" --help 2>/dev/null
}

# _lease_bench_cases SUBCOMMAND
_lease_bench_cases()
{
	_lease_bench_help | sed -n "/^$1:/,/^\$/s/^  \([a-z-]*\) .*/\1/p"
}

_lease_bench()
{
	local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]}
	local subcommand=${COMP_WORDS[1]} words=
	COMPREPLY=()

	if [ "$last" = = ]; then # a word of its own
		last=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	word=${word#=}
	case $last in
	--case)
		if [ "$subcommand" = plot ]; then
			words=$(_lease_bench_help | sed -n '/^[a-z]*: /,$s/^  \([a-z][a-z-]*\) .*/\1/p')
		else
			words=$(_lease_bench_cases "$subcommand")
		fi
		;;
	--pin)
		words='near far none'
		;;
	--output)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--seconds | --seed | --processes | --hold | --think | --handicap | --patient)
		return
		;;
	*)
		if [[ $word == -* && $subcommand == plot ]]; then
			words='--case --output --help'
		elif [[ $word == -* ]]; then
			words=$(_lease_bench_help | grep -oE -- '^  --[a-z]+|, --version' | tr -d ' ,')
		elif [ "$COMP_CWORD" -eq 1 ]; then
			words="plot $(_lease_bench_help | sed -nE 's/^([a-z]+): .*/\1/p')"
		elif [ "$subcommand" = plot ]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$word")
			return
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word" | sort -u)
}

complete -F _lease_bench lease-bench
