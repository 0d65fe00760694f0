#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# README.md's hello compiles as it stands, has the twelve lines that it is meant to have, and runs;
# a second process finds what the first has made; so do its other programs, and those of docs/*.md, in C, C++ and
# Python; the lines of lease-run run; what README.md links to is there.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
readme=$top/README.md
library=$(dirname "$(find "$LEASEHOLD_BUILD" -maxdepth 1 -name libleasehold.so -print -quit)")
name=readme-hello-$$
work=$(mktemp -d)
trap 'rm -rf "$work" "/dev/shm/$name"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}

echo "-- hello"
awk '/^```c$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' "$readme" >"$work/hello.c"
lines=$(wc -l <"$work/hello.c")
[ "$lines" -eq 12 ] || fail "hello has $lines lines"
grep -q '"hello"' "$work/hello.c" || fail "hello opens no arena of that name"
sed -i "s/\"hello\"/\"$name\"/" "$work/hello.c"
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$top/include" -o "$work/hello" "$work/hello.c" \
	-L"$library" -Wl,-rpath,"$library" -lleasehold
"$work/hello" || fail "the first to run"
"$work/hello" || fail "the second, which attaches"
placed=$("$LEASEHOLD_BIN/lease-inspector" list "$name" --json)
jq -e '.placements | length == 1 and (.[0] | .name == "door" and .kind == "mutex")' <<<"$placed" ||
	fail "not one mutex \"door\": $placed"
"$LEASEHOLD_BIN/lease-inspector" check "$name" || fail "something is left over"

echo "-- the other programs; what has no main is compiled, what is part of a function is not"
awk -v work="$work" '/^```c$/ { inside = 1; count++; next } /^```$/ { inside = 0 }
	inside && count > 1 { print >(work "/part" count ".c") }' "$readme"
for part in "$work"/part*.c; do
	grep -q '^#include' "$part" || continue
	flags=(-std=c11 -Wall -Wextra -Wpedantic -Werror "-I$top/include")
	if ! grep -q '^int main' "$part"; then
		cc "${flags[@]}" -c -o "${part%.c}.o" "$part"
		continue
	fi
	sed -i "s/\(lh_arena_open(\"\)[^\"]*/\1$name/" "$part"
	cc "${flags[@]}" -o "${part%.c}" "$part" -L"$library" -Wl,-rpath,"$library" -lleasehold
	"${part%.c}" || fail "$part: the first to run"
	"${part%.c}" || fail "$part: the second, which attaches"
done

# part LANGUAGE FILE: what stands between ```LANGUAGE and ``` in README.md and docs, all of it, with this
# test's arenas and keys for those named there.
part() {
	awk -v start="\`\`\`$1" '$0 == start { inside = 1; count++; next } /^```$/ { inside = 0 } inside' \
		"$readme" "$top"/docs/*.md |
		sed -E "s/((arena arena|Arena)\(\")[^\"]*/\1$name/; s/(Locks\(\"shm:\/\/)[^\"]*/\1$name/" >"$2"
	grep -q "$name" "$2" || fail "no arena in what $1 has: $(cat "$2")"
}

echo "-- C++, as the body of a program"
part cpp "$work/part.inc"
cat >"$work/part.cpp" <<-END
	#include <leasehold/leasehold.hpp>
	#include <cstdio>

	int main()
	{
	#include "part.inc"
		std::printf("%ld\n", *mutex.data<long>());
	}
END
if command -v c++ >/dev/null; then
	c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -I"$top/include" -o "$work/part_cpp" "$work/part.cpp" \
		-L"$library" -Wl,-rpath,"$library" -lleasehold
	said=$("$work/part_cpp" && "$work/part_cpp") || fail "the C++ program: $said"
	[ "$said" = $'1\n2' ] || fail "C++ counts to $said"
else
	echo "-- no c++: not compiled"
fi

echo "-- Python"
if [ -x /usr/bin/python3 ]; then
	part python "$work/part.py"
	said=$(PYTHONPATH=$top/tools/python PYTHONDONTWRITEBYTECODE=1 LEASEHOLD_LIBRARY=$library/libleasehold.so \
		/usr/bin/python3 -W error "$work/part.py") || fail "the Python program: $said"
	[[ $said =~ ^[1-9][0-9]*$ ]] || fail "Python's token: $said"
else
	echo "-- no /usr/bin/python3: not run"
fi

echo "-- links"
while read -r target; do
	[ -e "$top/$target" ] || fail "README.md links to $target, which is not there"
done < <(grep -o '](\([^)]*\))' "$readme" | tr -d ']()' | sed 's/#.*//' | grep -v '^https\?:')

echo "-- the lines of lease-run"
awk '/^## lease-run$/ { section = 1 } section && /^```sh$/ { inside = 1; next } /^```$/ { if (inside) exit }
	inside' "$readme" >"$work/run.sh"
said=$(PATH=$LEASEHOLD_BIN:$PATH LEASE_URL=shm://$name bash -e "$work/run.sh") ||
	fail "a line of lease-run"
[ "$(sed 's/[0-9][0-9]* of/N of/; s/token [0-9][0-9]*/token N/' <<<"$said")" = "$(printf '%s\n' \
	'one at a time; token N' 'in directory N of 4' import)" ] || fail "lease-run says: $said"

echo "-- verbs of lease-inspector"
while read -r verb; do
	"$LEASEHOLD_BIN/lease-inspector" --help | grep -q "^  $verb " || fail "no verb $verb"
done < <(sed -n 's/^lease-inspector \([a-z]*\) .*/\1/p' "$readme" | sort -u)
