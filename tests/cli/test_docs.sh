#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The documents know of all that they claim to list: docs/architecture.md of each source file,
# docs/protocol.md of each function that changes shared memory by an atomic read-modify-write; and
# what they link to, or name as a file, a test or of the interface, is there.
# ctest: TIER full it reads all sources and pages
set -euo pipefail
cd "$(dirname "$0")/../.."
wrong=0
complain() {
	echo "FAIL: $*"
	wrong=1
}

echo "-- files in docs/architecture.md"
for file in arena/*.[ch] arena/sys/*.[ch] src/*.[ch] src/provider/*.[ch]; do
	# A header is listed with its source: `arena/hold.c`, `.h`.
	stem=${file%.[ch]}
	grep -q "\`$stem\.[ch]\`" docs/architecture.md ||
		complain "docs/architecture.md lacks $file"
done

echo "-- functions in docs/protocol.md"
functions=$(awk '
	/^[a-z].*\(/ && !/;$/ {
		head = $0
		gsub(/__attribute__\(\([a-z]*\)\)/, "", head)
		sub(/\(.*/, "", head)
		words = split(head, word, /[ *]+/)
		name = word[words]
	}
	/atomic_(compare_)?exchange|atomic_fetch_|__atomic_|change\(arena|latch\(arena/ {
		print name
	}' arena/*.c src/*.c src/provider/*.c | sort -u)
[ "$(wc -w <<<"$functions")" -gt 30 ] || complain "too few functions found: $functions"
for function in $functions; do
	grep -qw "$function" docs/protocol.md docs/protocol/*.md ||
		complain "docs/protocol.md and docs/protocol/ lack $function"
done

echo "-- links and file names"
for document in README.md docs/*.md docs/*/*.md; do
	while read -r target; do
		[ -e "$(dirname "$document")/$target" ] || complain "$document links to $target"
	done < <(grep -o '](\([^)]*\))' "$document" | tr -d ']()' | sed 's/#.*//' |
		grep -v '^https\?:')
	while read -r file; do
		[ -e "$file" ] || complain "$document names $file"
	done < <(grep -oE '`(arena|src|tests|tools|bench|include)/[a-zA-Z0-9_./-]+[`:]' \
		"$document" |
		tr -d '`:' | sort -u)
done

echo "-- names of the interface and of tests"
documents=(README.md docs/*.md docs/*/*.md docs/man/*.scd)
# gdb's functions begin with a dollar sign.
while read -r name; do
	complain "no $name in the headers: $(grep -lw "$name" "${documents[@]}" | tr '\n' ' ')"
done < <(comm -23 <(grep -ohP '(?<![$\w])(lh|LH)_\w+(?![<\w])' "${documents[@]}" | sort -u) \
	<(grep -ohwE '(lh|LH)_\w+' include/leasehold/*.h | sort -u))
while read -r label name; do
	case $label in
	check) files=(tests/support/check-"$name".sh) ;;
	model) files=(tests/model/"$name".pml) ;;
	*) files=(tests/"$label"/test_"$name".*) ;;
	esac
	[ -e "${files[0]}" ] || complain "no test $label.$name:" \
		"$(grep -lwF "$label.$name" "${documents[@]}" | tr '\n' ' ')"
done < <(grep -ohP '(?<![/\w])(unit|contract|crash|stress|fuzz|cli|install|model|check)\.\w{2,}(?!\w)(?!\()' \
	"${documents[@]}" | tr . ' ' | grep -v ' sh$\| md$\| pml$' | sort -u)
exit $wrong
