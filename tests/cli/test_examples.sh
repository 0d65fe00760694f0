#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The programs in docs/examples compile as they say, do what they say, and leave nothing.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
library=$(dirname "$(find "$LEASEHOLD_BUILD" -maxdepth 1 -name libleasehold.so -print -quit)")
name=examples-$$
work=$(mktemp -d)
trap 'rm -rf "$work" "/dev/shm/$name"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}

compiled=0
for source in "$top"/docs/examples/*.c; do
	program=$work/$(basename "$source" .c)
	echo "-- $(basename "$source")"
	libraries=$(sed -n 's|^//\tcc -o [^ ]* [^ ]* ||p' "$source")
	[ -n "$libraries" ] || fail "$source does not say how it is compiled"
	# shellcheck disable=SC2086
	cc -std=gnu11 -Wall -Wextra -Wpedantic -Werror -I"$top/include" -o "$program" "$source" \
		-L"$library" -Wl,-rpath,"$library" $libraries
	compiled=$((compiled + 1))
done
[ "$compiled" -ge 2 ] || fail "only $compiled examples"

expected='the lock is let go
first runs
second runs
third runs'
for program in "$work"/pending-*; do
	got=$(timeout 100 "$program" "shm://$name") || fail "$program failed: $got"
	[ "$got" = "$expected" ] || fail "$program said: $got"
	"$LEASEHOLD_BIN/lease-inspector" check "$name" || fail "$program left something"
done
