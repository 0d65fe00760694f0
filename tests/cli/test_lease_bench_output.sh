#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: NOT_UNDER valgrind it lacks futex_waitv
# ctest: TIER full it measures what only a change of lease-bench would change
# lease-bench: what it writes: the machine in the head, percentiles, CSV that says what the JSON
# does, plots, places by hwloc's distances, progress on a terminal; and its manual and completion
# know its options.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
bench=$LEASEHOLD_BIN/lease-bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}
small=(--quick --seconds 1 --seed 7)

echo "-- the machine"
"$bench" mutex "${small[@]}" --case header --case handover --json >"$work/json"
jq -e '.system | (.host | length > 0) and (.cpu_model | length > 0) and (.governor | length > 0)
	and .pinning == "none"' "$work/json" >/dev/null || fail "the head of the JSON"
"$bench" mutex "${small[@]}" --case header --case handover --percentiles >"$work/table"
grep -q 'CPUs, .*governor .*; pinning: none' "$work/table" || fail "the head of the table"

echo "-- percentiles"
grep -q 'WHOSE *P50 *P90 *P99 *P99.9 *MAX' "$work/table" || fail "no second table"
jq -e '[.rows[] | select(.case == "handover")] | length > 1 and all(.[] |
	(.peer_figure, .reference_figure); .min <= .p50 and .p50 <= .p90 and .p90 <= .p99 and
	.p99 <= .["p99.9"] and .["p99.9"] <= .max)' "$work/json" >/dev/null ||
		fail "they do not rise"
jq -e '.rows[] | select(.case == "header") | .peer_figure | has("p99") | not' "$work/json" \
	>/dev/null || fail "a size has percentiles"

echo "-- CSV: the same rows"
"$bench" mutex "${small[@]}" --case header --case handover --csv >"$work/csv"
for key in benchmark version seed seconds host kernel cpu_model governor pinning awake; do
	grep -q "^# $key: ." "$work/csv" || fail "no $key in the head"
done
jq -r '.rows[] | "\"\(.case)\",\"\(.what)\",\"\(.peer)\",\"\(.reference)\",\"\(.unit)\""' \
	"$work/json" >"$work/expected"
grep -v '^#' "$work/csv" | tail -n +2 | cut -d, -f1-5 >"$work/got"
diff "$work/expected" "$work/got" || fail "< JSON, > CSV"
columns=$(grep -v '^#' "$work/csv" | head -1 | tr , '\n' | wc -l)
# No text of these rows has a comma.
grep -v '^#' "$work/csv" | awk -F, -v n="$columns" 'NF != n { exit 1 }' || fail "ragged CSV"

echo "-- terms of a contest"
"$bench" mutex "${small[@]}" --case contended --processes 2,3 --hold 300 --think 0 --json \
	>"$work/terms"
jq -e '.rows | map(.what) | unique == ["2 processes, hold 300 ns", "3 processes, hold 300 ns"]' \
	"$work/terms" >/dev/null || fail "not what was asked for"

echo "-- plot"
if command -v gnuplot >/dev/null; then
	for kind in json csv; do
		rm -f "$work"/*.png "$work"/*.svg
		cp "$work/$kind" "$work/run.$kind"
		"$bench" plot "$work/run.$kind" || fail "plot of $kind"
		[ "$(head -c 4 "$work/run.png" | tail -c 3)" = PNG ] || fail "no PNG of $kind"
		grep -q '<svg' "$work/run.svg" || fail "no SVG of $kind"
		grep -q 'handover, .*: leasehold / pthread-robust' "$work/run.svg" ||
			fail "no label"
	done
	"$bench" plot "$work/run.json" --case header --output "$work/one"
	! grep -q handover "$work/one.svg" || fail "a case that was not asked for"

	# A run file from elsewhere: what it says is drawn, not done.
	foreign() { # KIND
		rm -f "$work"/*.png "$work"/*.svg
		(cd "$work" && "$bench" plot "evil.$1" --output "it's") || status=$?
		[ ! -e "$work/done" ] || fail "what a foreign $1 says was executed: $evil"
		[ $status -eq 0 ] && [ -s "$work/it's.png" ] &&
			grep -q 'lease-bench .*touch done' "$work/it's.svg" ||
			fail "a foreign $1 is not drawn, with its title: $evil"
	}
	status=0
	for evil in '`touch done`' $'\'\nsystem "touch done"\n#' $'"\nsystem "touch done"\n#' \
		$'\\\nsystem "touch done"'; do
		jq --arg evil "$evil" '.benchmark = $evil | .system.host = $evil |
			.rows[].what = $evil' "$work/json" >"$work/evil.json"
		foreign json
	done
	evil='`touch done`'
	sed "s/^# benchmark: .*/# benchmark: $evil/; s/^handover,[^,]*/handover,$evil/" \
		"$work/csv" >"$work/evil.csv"
	foreign csv
fi
refused() { # STATUS ARGUMENT...
	local expected=$1 status=0
	shift
	"$bench" plot "$@" 2>"$work/err" || status=$?
	[ $status -eq "$expected" ] && [ -s "$work/err" ] || fail "plot $*: $status"
}
echo nonsense >"$work/nonsense"
echo '{"some": "JSON"}' >"$work/other.json"
refused 1 "$work/nonsense"
refused 1 "$work/other.json"
refused 1 "$work/is-not-there"
refused 1 "$work/json" --case none
refused 1 "$work/json" --output "\`touch $work/done\`"
refused 1 "$work/json" --output "|touch $work/done;"
[ ! -e "$work/done" ] || fail "a name was executed"
refused 2
bench_path=$(realpath "$bench")
status=0
PATH=/nonexistent "$bench_path" plot "$work/json" 2>"$work/err" || status=$?
[ $status -eq 1 ] && grep -q gnuplot-nox "$work/err" || fail "without gnuplot: $status"

echo "-- places"
pinning() { # TOPOLOGY POLICY
	HWLOC_SYNTHETIC=$1 "$bench" mutex --quick --case header --pin "$2" --json |
		jq -r .system.pinning
}
if ldconfig -p | grep -q 'libhwloc\.so\.15'; then
	not="(not this machine's, not applied)"
	[ "$(pinning 'pack:2 core:2 pu:2' near)" = "near $not: CPUs 0 1 2 3 4 5 6 7" ] ||
		fail "near"
	# The other package, then the other core of each, then the other threads.
	[ "$(pinning 'pack:2 core:2 pu:2' far)" = "far $not: CPUs 0 4 2 6 1 5 3 7" ] || fail "far"
	[ "$(pinning 'numa:2 pack:1 core:2 pu:1' far)" = "far $not: CPUs 0 2 1 3" ] || fail "nodes"
	cpu=$(taskset -pc $$ | sed 's/.*: *//; s/[-,].*//')
	taskset -c "$cpu" "$bench" mutex "${small[@]}" --case contended --processes 2 --pin far \
		--json |
		jq -e --arg cpu "$cpu" '.system.pinning == "far: CPUs \($cpu)"' >/dev/null ||
		fail "not kept to the CPUs that it may run on"
fi

echo "-- kept awake"
"$bench" mutex --seconds 3 --case lease --awake --json >"$work/awake" &
pid=$!
until [ "$(ps -o cls= --ppid $pid | grep -c IDL)" -eq "$(nproc)" ]; do
	kill -0 $pid || fail "no process for each CPU at SCHED_IDLE"
done
wait $pid || fail "--awake"
jq -e '.system.awake' "$work/awake" >/dev/null || fail "the head does not say so"
jq -e '.system.awake | not' "$work/json" >/dev/null || fail "and without it"

echo "-- progress, on a terminal only"
"$bench" mutex --seconds 3 --case lease 2>"$work/err" >/dev/null
[ ! -s "$work/err" ] || fail "progress in a file"
script -qec "'$bench' mutex --seconds 3 --case lease --case header >'$work/out'" /dev/null \
	>"$work/seen"
grep -q 'lease (case 1 of 2), [0-9]* %' "$work/seen" || fail "no progress"

echo "-- refused"
for wrong in "--hold x" "--hold -1" "--think 1e99" "--processes 1" "--processes 2,,3" \
	"--processes 65" "--pin here" "--handicap leasehold" "--handicap =5" "--handicap a=b" \
	"--case lease --processes 2" "--case kill --hold 5" "--case header --think 0"; do
	status=0
	# Words on purpose.
	# shellcheck disable=SC2086
	"$bench" mutex $wrong >"$work/out" 2>"$work/err" || status=$?
	[ $status -eq 2 ] && [ -s "$work/err" ] && [ ! -s "$work/out" ] || fail "$status: $wrong"
done

echo "-- manual and completion"
manual_page=$top/docs/man/lease-bench.1.scd
help=$("$bench" --help)
options=$(grep -oE '^  --[a-z]+|, --version' <<<"$help" | tr -d ' ,' | sort -u)
manual=$(sed -nE \
	's/^\*--help\*, \*--version\*$/--help\n--version/p; s/^\*--([a-z]+)\*( .*)?$/--\1/p' \
	"$manual_page" | sort -u)
diff <(echo "$options") <(grep -v -- --output <<<"$manual") || fail "< --help, > manual"
subcommands=$(sed -nE 's/^([a-z]+): .*/\1/p' <<<"$help" | sort -u)
for subcommand in $subcommands; do
	grep -qw "$subcommand" "$manual_page" || fail "no $subcommand in the manual"
	for name in $(sed -n "/^$subcommand:/,/^\$/s/^  \([a-z-]*\) .*/\1/p" <<<"$help"); do
		grep -qE "^(\*[a-z]+\*, )?\*$name\*(,|\$)" "$manual_page" ||
			fail "no case $name in the manual"
	done
done
# shellcheck source=/dev/null
. "$top/bench/completion.bash"
PATH=$LEASEHOLD_BIN:$PATH
completes() {
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMPREPLY=()
	_lease_bench
	echo "${COMPREPLY[*]}"
}
[ "$(completes lease-bench mutex --)" = "$(echo $options)" ] || fail "its options"
[ "$(completes lease-bench '')" = "$(echo $subcommands)" ] || fail "its sub-commands"
[ "$(completes lease-bench mutex --case hand)" = handover ] || fail "its cases"
[ "$(completes lease-bench once --case '')" = "done kill recovers" ] || fail "another's cases"
[ "$(completes lease-bench mutex --pin = n)" = "near none" ] || fail "its values"
[ "$(completes lease-bench plot -)" = "--case --help --output" ] || fail "plot's options"
