#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIMEOUT 900
# ctest: NOT_UNDER address steps through single instructions
# ctest: NOT_UNDER undefined steps through single instructions
# ctest: NOT_UNDER thread steps through single instructions
# ctest: NOT_UNDER valgrind ptrace of its own
# ctest: TIER ci it steps through every operation of every crash test
#
# Each row of the tables in docs/protocol.md and docs/protocol/ names the functions that take its step. Here
# each of them is looked for among those that the operations of the crash tests step through: so for every
# row there is an operation that is killed there. What none goes through, docs/testing.md has to list with
# the reason. Prints for each row how many operations there are, and some of them.
set -euo pipefail
cd "$(dirname "$0")/../.."
programs=${LEASEHOLD_BUILD:?the build directory}/tests/crash
command -v addr2line >/dev/null || { echo "SKIP: addr2line is missing"; exit 77; }
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

# For each operation the functions, inlined ones too: function, tab, file, tab, program: operation.
names_of() {
	awk -v program="${1##*/test_}" '
		FNR == NR && /^operation / { operation = program ": " substr($0, 11); next }
		FNR == NR && /^0x/ { steps[$1] = steps[$1] "\n" operation; next }
		FNR == NR { next }
		/^0x/ { sub(/^0x0*/, "0x"); count = split(steps[$1], at, "\n"); next }
		!/:/ { name = $1; sub(/\..*/, "", name); next }
		{
			file = $1
			sub(/:[0-9?]*$/, "", file)
			sub(/^.*\//, "", file)
			for (i = 2; i <= count; i++)
				print name "\t" file "\t" at[i]
		}' "$here/where" <(grep ^0x "$here/where" | sort -u | addr2line -a -f -i -e "$1") | sort -u
}

for program in "$programs"/test_*; do
	[ -x "$program" ] && [ ! -d "$program" ] || continue
	status=0
	CRASH=where LEASEHOLD_TIER=ci "$program" >"$here/where" || status=$?
	[ $status != 77 ] || { grep ^SKIP: "$here/where"; exit 77; }
	[ $status = 0 ] || { echo "FAIL: $program: $status"; exit 1; }
	names_of "$program" >>"$here/names"
done

# Document, tab, step, tab, functions. A row without any is of the row before it, or of the section.
for document in docs/protocol.md docs/protocol/*.md; do
	grep -oE '[a-z_]+\.[ch]\b' "$document" | sort -u | sed "s|^|${document#docs/}\t|" >>"$here/files"
	awk -v document="${document#docs/}" '
		function functions_in(text, all) {
			all = ""
			while (match(text, /`([a-z_\/]*\.[ch]:)?[a-z][a-z0-9_]*`/)) {
				all = all " " substr(text, RSTART + 1, RLENGTH - 2)
				text = substr(text, RSTART + RLENGTH)
			}
			return all
		}
		/^#/ { last = ""; table = 0 }
		/^## 11\./ { exit }
		/^\| Step/ { table = !/Words or moments/; next }
		!/^\|/ { table = 0; if (/^`[a-z\/_]*\.c:/) { last = functions_in($0); sub(/^ /, "", last); sub(/ .*/, "", last) } }
		table && !/^\|-/ {
			split($0, cell, / *\| */)
			found = functions_in(cell[2])
			if (found)
				last = found
			gsub(/ *`[^`]*`,?/, "", cell[2])
			print document "\t" cell[2] "\t" last
		}' "$document"
done >"$here/rows"
# The first column of the table below that heading.
awk -F '|' '/^#/ { inside = /Which operation goes where/ }
	inside && /^\| `/ { print $2 }' docs/testing.md | grep -o '`[^`]*`' | tr -d '`' >"$here/excepted"

awk -F '\t' -v excepted="$here/excepted" '
	BEGIN { while ((getline line < excepted) > 0) except[line] = 1 }
	# A name without its file is of one of those that the document speaks of, if one of them has it.
	function key_of(document, name, i) {
		if (name ~ /:/)
			return name
		for (i = 1; i <= files[document]; i++)
			if (counts[file[document, i] ":" name])
				return file[document, i] ":" name
		return name in anywhere ? anywhere[name] : name
	}
	FILENAME ~ /files$/ {
		file[$1, ++files[$1]] = $2
		next
	}
	FILENAME ~ /names$/ {
		key = $2 ":" $1
		counts[key]++
		anywhere[$1] = key
		some[key] = some[key] (counts[key] <= 3 ? (counts[key] > 1 ? "; " : "") $3 : "")
		next
	}
	{
		rows++
		count = split($3, functions, " ")
		if (!count) {
			print "FAIL: " $1 ": " $2 ": no function is named"
			wrong = 1
		}
		for (i = 1; i <= count; i++) {
			name = functions[i]
			sub(/^.*\//, "", name)
			plain = name
			sub(/^.*:/, "", plain)
			name = key_of($1, name)
			if (counts[name])
				print $1 ": " $2 ": " plain ": " counts[name] ": " some[name]
			else if (plain in except || name in except)
				print $1 ": " $2 ": " plain ": as docs/testing.md says"
			else {
				print "FAIL: " $1 ": " $2 ": no crash operation steps through " name
				wrong = 1
			}
			used[plain] = used[plain] || counts[name]
			if (name != plain)
				used[name] = used[name] || counts[name]
		}
	}
	END {
		if (rows < 100) {
			print "FAIL: only " rows " rows were found"
			wrong = 1
		}
		for (name in except) {
			if (used[name] || !(name in used)) {
				print "FAIL: docs/testing.md excepts " name " without need"
				wrong = 1
			}
		}
		print rows " rows"
		exit wrong
	}' "$here/files" "$here/names" "$here/rows"
