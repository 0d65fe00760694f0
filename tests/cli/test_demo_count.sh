#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo-count, amid kills, counts what wc counts, whatever the files hold and are called (G1, G2,
# G12); and says so when the two differ, when a file is gone, and when it is told to stop.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}

# run STATUS ARGUMENT...: runs demo-count; its output goes to $output and is shown.
run() {
	local wanted=$1 status=0
	shift
	"$LEASEHOLD_BIN/demo-count" "$@" >"$work/output" 2>&1 &
	demos+=($!)
	wait $! || status=$?
	output=$(cat "$work/output")
	printf '%s\n' "-- demo-count $*" "$output"
	[ $status -eq "$wanted" ] || fail "exit status $status, not $wanted"
}
says() {
	grep -q -- "$1" <<<"$output" || fail "it does not say: $1"
}
# number WORD: the first number on the line that begins with WORD.
number() {
	awk -v word="$1" '$1 == word { print $2 + 0; exit }' <<<"$output"
}
# The process of each run: its arenas have that number in their names. Others may be about, of other tests.
demos=()
nothing_left() {
	local demo
	for demo in "${demos[@]}"; do
		! compgen -G "/dev/shm/demo-count-$demo-*" || fail "left behind"
	done
}

# ---- awkward files -------------------------------------------------------------------------------
files=$work/files
mkdir -p "$files/a directory/deeper" "$files/empty directory"
for size in 1 4095 65535 65536 65537 3000000; do
	head -c "$size" /dev/urandom >"$files/random $size"
done
: >"$files/empty"
: >"$files/a directory/deeper/also empty"
printf 'no line feed at the end' >"$files/a directory/total"
printf '\001\002 \200\201 a\200b\vc\fd\re\tf\0g  \n\n' >"$files/a directory/bytes of each kind"
seq 400000 >"$files/a directory/deeper/numbers"
name=$'with a line feed,\n1 2 3 total'
printf 'a b\nc\n' >"$files/$name"
ln -s /usr/share/dict "$files/symbolic link, not to be followed"
ln "$files/$name" "$files/hard link"

run 0 --kills 40 --recoveries 10 --kill-every 50 --seed 7 "$files"
says '^equal  *in every pass$'
says '^arena  *clean'
says 'seed: 7$'
[ "$(number kills)" -ge 40 ] || fail "too few kills"
[ "$(number recoveries)" -ge 10 ] || fail "too few recoveries"
wanted=$(find "$files" -type f -print0 | LC_ALL=C wc --files0-from=- |
	awk 'END { print $1, $2, $3 }')
counted=$(awk '$1 == "workers" { print $3, $4, $5 }' <<<"$output")
[ "$counted" = "$wanted" ] || fail "counted $counted, not $wanted"
[ "$(number workers)" -eq "$(find "$files" -type f -printf x | wc -c)" ] || fail "number of files"
nothing_left

echo "-- one file, for which wc prints no line of totals; one worker, so nobody waits"
run 0 --kills 3 --recoveries 1 --workers 1 --kill-every 50 "$files/a directory/deeper"
says '^equal '
run 0 --kills 0 --recoveries 0 "$files/hard link"
says '^equal '

echo "-- files that are held for microseconds: after the kills that were asked for, holders alone are killed"
mkdir "$work/small"
for i in {1..60}; do
	seq 20 >"$work/small/$i"
done
run 0 --kills 2 --recoveries 2 "$work/small"
says '^equal '
[ "$(number kills)" -le $((2 + 5 * $(number recoveries))) ] || fail "too many kills that hit no holder"

# ---- what must not pass --------------------------------------------------------------------------
mkdir "$work/bin" "$work/vanishing"
seq 1000 >"$work/vanishing/stays"
seq 1000 >"$work/vanishing/vanishes"
export real_wc
real_wc=$(command -v wc)
PATH=$work/bin:$PATH

echo "-- wc counts one word more"
cat >"$work/bin/wc" <<'END'
#!/bin/sh
"$real_wc" "$@" | awk '{ $2++; print }'
END
chmod +x "$work/bin/wc"
run 1 --kills 0 --recoveries 0 "$work/vanishing"
says '^NOT equal '

echo "-- wc fails"
cat >"$work/bin/wc" <<'END'
#!/bin/sh
"$real_wc" "$@"
exit 1
END
run 1 --kills 0 --recoveries 0 "$work/vanishing"
says 'find | wc failed'

echo "-- find cannot read something"
rm "$work/bin/wc"
printf '#!/bin/sh\n%s "$@"\nexit 1\n' "$(command -v find)" >"$work/bin/find"
chmod +x "$work/bin/find"
run 1 --kills 0 --recoveries 0 "$work/vanishing"
says 'find | wc failed'
rm "$work/bin/find"

echo "-- a file vanishes after the first pass"
cat >"$work/bin/wc" <<END
#!/bin/sh
"\$real_wc" "\$@"
rm -f "$work/vanishing/vanishes"
END
chmod +x "$work/bin/wc"
run 1 --kills 1000 --recoveries 1 "$work/vanishing"
says 'vanishes: No such file'
rm "$work/bin/wc"

echo "-- the report cannot be written"
status=0
"$LEASEHOLD_BIN/demo-count" --kills 0 --recoveries 0 "$work/small" >/dev/full 2>"$work/output" || status=$?
[ $status -eq 1 ] || fail "exit status $status without a report"
grep -q 'cannot write' "$work/output" || fail "it does not say that it could not write"

echo "-- nothing to count, nowhere to look, nonsense"
mkdir "$work/nothing"
run 1 "$work/nothing"
says 'no files below'
run 1 "$work/nowhere"
says 'No such file'
run 2 --workers 0 "$files"
run 2 --kills -1 "$files"
run 2 --what "$files"
run 2 "$files" "$files"
run 0 --help
run 1 --kills 60000 --give-up 1 "$files"
says 'gave up'
nothing_left

echo "-- stopped by a signal"
rm "$work/output"
"$LEASEHOLD_BIN/demo-count" --kills 60000 "$files" >"$work/output" 2>&1 &
demo=$!
demos+=($demo)
while [ ! -s "$work/output" ]; do # its first line; by then the signal is blocked and asked for
	kill -0 $demo || fail "it ended by itself: $(cat "$work/output")"
done
kill -TERM $demo
status=0
wait $demo || status=$?
[ $status -eq $((128 + 15)) ] || fail "exit status $status after SIGTERM"
nothing_left
