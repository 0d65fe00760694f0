#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full it configures and builds a project of its own, and formats every manual page
# What `cmake --install` leaves can be moved, and is enough to build and run programs against: by
# pkg-config and by find_package, in C and in C++.
set -euo pipefail
shopt -s extglob
. "$(dirname "$0")/consumer/consume.bash"
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

version=$("$prefix/bin/lease-run" --version | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1)
consume "$prefix" "$work" "$version"

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
	lacking=$(awk -v pages="$pages" '{
		# What a name leads to, and whether that page has it.
		page = ""
		getline page <(pages "/" $1 ".3")
		close(pages "/" $1 ".3")
		sub(/^\.so man3\//, "", page)
		if (!(page in text)) {
			text[page] = " "
			while ((getline line <(pages "/" page)) > 0) {
				gsub(/\\/, "", line)
				text[page] = text[page] line "\n"
			}
		}
		if (!index(text[page], $1 "("))
			print
	}' <<<"$declared")
	[ -z "$lacking" ] || fail "no page has" $lacking
	wanted=("$prefix"/bin/*)
	wanted=("${wanted[@]/%/.1}")
	for header in "$prefix"/include/leasehold/*.h; do
		page=leasehold-$(basename "$header" .h).3
		[ "$page" = leasehold-leasehold.3 ] && page=leasehold.3
		wanted+=("$page")
	done
	mandb --quiet --create --user-db "$prefix/share/man"
	files=()
	for page in "${wanted[@]##*/}"; do
		file=$prefix/share/man/man${page##*.}/$page
		warnings=$(groff -k -man -Tutf8 -ww -z "$file" 2>&1) || fail "$page"
		[ -z "$warnings" ] || fail "$page: $warnings"
		files+=("$file")
	done
	[ "$(lexgrog "${files[@]}" | grep -c '\.[13]: "leas.* - [A-Za-z]')" -eq ${#files[@]} ] ||
		fail "a heading: $(lexgrog "${files[@]}")"
	for section in 1 3; do
		names=()
		for page in "${wanted[@]##*/}"; do
			[ "${page##*.}" != $section ] || names+=("${page%.*}")
		done
		whatis --manpath="$prefix/share/man" --section=$section "${names[@]}" >"$work/known" ||
			fail "whatis does not know all of ${names[*]}"
		[ "$(sort -u "$work/known" | wc -l)" -eq ${#names[@]} ] || fail "$(cat "$work/known")"
	done
	man --manpath="$prefix/share/man" -wK --section=1 LEASE_OWNER_DIED | grep -q '/lease-run\.1$' ||
		fail "man -K does not find what a page says"
else
	echo "SKIP: install.install: no scdoc, so there are no manual pages of headers"
	exit 77
fi
