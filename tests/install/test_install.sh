#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full it configures and builds a project of its own, and formats every manual page
# What `cmake --install` leaves can be moved, and is enough to build and run programs against: by
# pkg-config and by find_package, in C and in C++.
set -euo pipefail
shopt -s extglob
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
unset LD_LIBRARY_PATH

echo "-- pkg-config --static"
read -ra flags < <(pkg-config --static --cflags --libs leasehold)
cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$work/static" "$consumer/consumer.c" \
	"${flags[@]/#-lleasehold/-l:libleasehold.a}"
! ldd "$work/static" | grep leasehold || fail "it is not linked statically"
[ "$("$work/static")" = "$version" ] || fail "the C program, static, by pkg-config"
unset PKG_CONFIG_PATH

echo "-- find_package"
cmake -S "$consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$work/build"
[ "$("$work/build/consumer")" = "$version" ] || fail "the C program by find_package"
[ "$("$work/build/consumer_cpp")" = "$version" ] || fail "the C++ program by find_package"
[ "$("$work/build/consumer_static")" = "$version" ] || fail "the static program by find_package"
! ldd "$work/build/consumer_static" | grep leasehold || fail "it is not linked statically"

echo "-- the library"
library=$libdir/libleasehold.so
dynamic=$(readelf --dynamic --wide "$library")
grep -q 'SONAME.*\[libleasehold\.so\.0\]' <<<"$dynamic" || fail "soname: $dynamic"
grep -q 'FLAGS_1.*NODELETE' <<<"$dynamic" || fail "it could be unloaded: $dynamic"
! grep -q 'TEXTREL\|R.*PATH' <<<"$dynamic" || fail "text relocations or a search path: $dynamic"
# What is exported is what the headers declare.
declared=$(cat "$prefix"/include/leasehold/*.h | tr '\n' ' ' |
	grep -o 'LH_API [^;(]*(' | grep -o 'lh_[a-z_0-9]*(' | tr -d '(' | sort -u)
exported=$(nm --dynamic --defined-only "$library" | awk '$2 == "T" { print $3 }' | sort -u)
! grep -v '^lh_[a-z_0-9]*@@LEASEHOLD_[0-9.]*$' <<<"$exported" || fail "exported without a version"
exported=${exported//@@LEASEHOLD_*([0-9.])/}
diff <(echo "$declared") <(echo "$exported") || fail "< declared, > exported"

echo "-- the programs"
for program in "$prefix"/bin/*; do
	[ -x "$program" ] || continue
	! ldd "$program" | grep 'not found' || fail "$program lacks a library"
	"$program" --version | grep -F "$version" || fail "$program --version"
done

echo "-- manual pages"
if command -v scdoc >/dev/null; then
	pages=$(dirname "$(find "$prefix" -name leasehold.3)")
	for function in $declared; do
		page=$pages/$(sed -n 's/^\.so man3\///p' "$pages/$function.3")
		grep -qF "$function(" <(tr -d '\\' <"$page") || fail "the page of $function lacks it"
	done
	wanted=("$prefix"/bin/*)
	wanted=("${wanted[@]/%/.1}")
	for header in "$prefix"/include/leasehold/*.h; do
		page=leasehold-$(basename "$header" .h).3
		[ "$page" = leasehold-leasehold.3 ] && page=leasehold.3
		wanted+=("$page")
	done
	mandb --quiet --create --user-db "$prefix/share/man"
	for page in "${wanted[@]##*/}"; do
		file=$prefix/share/man/man${page##*.}/$page
		warnings=$(groff -k -man -Tutf8 -ww -z "$file" 2>&1) || fail "$page"
		[ -z "$warnings" ] || fail "$page: $warnings"
		lexgrog "$file" >"$work/heading" || fail "$page: $(cat "$work/heading")"
		whatis --manpath="$prefix/share/man" --section="${page##*.}" "${page%.*}" |
			grep -q "^${page%.*} (${page##*.}) *- [A-Za-z]" || fail "whatis does not know $page"
	done
	man --manpath="$prefix/share/man" -wK --section=1 LEASE_OWNER_DIED | grep -q '/lease-run\.1$' ||
		fail "man -K does not find what a page says"
else
	echo "SKIP: install.install: no scdoc, so there are no manual pages of headers"
	exit 77
fi
