#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` leaves can be moved, and is enough to build and run programs against: by
# pkg-config and by find_package, in C and in C++.
set -euo pipefail
consumer=$(cd "$(dirname "$0")" && pwd)/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}

cmake --install "$LEASEHOLD_BUILD" --prefix "$work/first"
mv "$work/first" "$work/second"
prefix=$work/second
libdir=$(dirname "$(find "$prefix" -name 'libleasehold.so')")
! grep -rI "$work/first\|$LEASEHOLD_BUILD" "$prefix" || fail "an installed file names another place"

echo "-- pkg-config"
export PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
version=$(pkg-config --modversion leasehold)
read -ra flags < <(pkg-config --cflags --libs leasehold)
cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$work/c" "$consumer/consumer.c" "${flags[@]}"
c++ -std=c++17 -Wall -Wextra -Werror -o "$work/cpp" "$consumer/consumer.cpp" "${flags[@]}"
[ "$("$work/c")" = "$version" ] || fail "the C program by pkg-config"
[ "$("$work/cpp")" = "$version" ] || fail "the C++ program by pkg-config"
unset PKG_CONFIG_PATH LD_LIBRARY_PATH

echo "-- find_package"
cmake -S "$consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$work/build"
[ "$("$work/build/consumer")" = "$version" ] || fail "the C program by find_package"
[ "$("$work/build/consumer_cpp")" = "$version" ] || fail "the C++ program by find_package"

echo "-- the library"
library=$libdir/libleasehold.so
dynamic=$(readelf --dynamic --wide "$library")
grep -q 'SONAME.*\[libleasehold\.so\.0\]' <<<"$dynamic" || fail "soname: $dynamic"
grep -q 'FLAGS_1.*NODELETE' <<<"$dynamic" || fail "it could be unloaded: $dynamic"
! grep -q 'TEXTREL\|R.*PATH' <<<"$dynamic" || fail "text relocations or a search path: $dynamic"
# What is exported is what the headers declare.
declared=$(cat "$prefix"/include/leasehold/*.h | tr '\n' ' ' |
	grep -o 'LH_API [^;(]*(' | grep -o 'lh_[a-z_0-9]*(' | tr -d '(' | sort -u)
exported=$(nm --dynamic --defined-only "$library" | awk '{ print $3 }' | sort -u)
diff <(echo "$declared") <(echo "$exported") || fail "< declared, > exported"

echo "-- the programs"
for program in "$prefix"/bin/*; do
	[ -x "$program" ] || continue
	! ldd "$program" | grep 'not found' || fail "$program lacks a library"
	"$program" --version | grep -F "$version" || fail "$program --version"
done
