# SPDX-License-Identifier: Apache-2.0
# header-page.awk: makes a manual page (scdoc's language) of a public header, so that the contract stands
# in one place. awk -v name=mutex -v version=0.1.0 -f header-page.awk include/leasehold/mutex.h
#
# A header is a first comment, the concept, and then comments each followed by what it describes. In a
# comment, lines indented by a tab or by two or more spaces keep their form; so do declarations.
# With -v list=functions it prints the names of the functions instead, one a line.

function escape(text) {
	gsub(/\\/, "\\\\", text)
	gsub(/[*_`]/, "\\\\&", text)
	sub(/^[#|\][.-]/, "\\\\&", text)
	# The contract's marks begin a paragraph each.
	if (text ~ /^(Errors|Order|Crash|Signal|Returns|Units|Example)[:;, ]/) {
		match(text, /^[A-Za-z]+/)
		text = "\n*" substr(text, 1, RLENGTH) "*" substr(text, RLENGTH + 1)
	}
	return text
}

# scdoc has no tabs within text, and ends a literal block at ```.
function literal(text) {
	gsub(/\t/, "        ", text)
	return text
}

function fence(wanted) {
	if (wanted == fenced)
		return
	if (wanted)
		print ""
	print "```"
	if (!wanted)
		print ""
	fenced = wanted
}

function comment_line(text) {
	if (text ~ /^(\t|  )/) {
		fence(1)
		print literal(text)
	} else if (text == "" && fenced) {
		blank = 1
		return
	} else {
		fence(0)
		print escape(text)
	}
	blank = 0
}

function end_comment() {
	fence(0)
	blank = 0
}

# The comment's lines, held back until it is known what they belong to.
function say_comment(    i) {
	for (i = 1; i <= lines; i++) {
		# An empty line within what keeps its form belongs to it.
		if (blank && line[i] ~ /^(\t|  )/)
			print ""
		comment_line(line[i])
	}
	end_comment()
	lines = 0
}

function say_declaration(    i) {
	if (!declared)
		return
	print ""
	print "```"
	for (i = 1; i <= declared; i++)
		print literal(declaration[i])
	print "```"
	print ""
	declared = 0
}

# What follows a comment is shown before it, as the heading of what it says.
function end_item() {
	if (list || !begun)
		return
	say_declaration()
	if (lines)
		say_comment()
}

# The first sentence of the first comment.
function heading(    i, text) {
	for (i = 1; i <= lines && line[i] != ""; i++)
		text = text (i > 1 ? " " : "") line[i]
	sub(/\.( .*)?$/, "", text)
	return text
}

BEGIN {
	page = name == "leasehold" ? name : "leasehold-" name
	if (!list) {
		print page "(3) \"Leasehold " version "\" \"Leasehold\""
		print ""
	}
}

list == "functions" {
	if (match($0, /lh_[a-z_0-9]+\(/) && ($0 ~ /LH_API/ || pending)) {
		print substr($0, RSTART, RLENGTH - 1)
		pending = 0
	} else if ($0 ~ /^LH_API/) {
		pending = 1
	}
	next
}

/^\/\*/ && !in_comment {
	end_item()
	in_comment = 1
	if ($0 ~ /\*\/$/) {
		text = $0
		sub(/^\/\* ?/, "", text)
		sub(/ ?\*\/$/, "", text)
		line[++lines] = text
		in_comment = 0
	}
	next
}

in_comment && /\*\/$/ {
	in_comment = 0
	if (!begun) {
		begun = 1
		print "# NAME"
		print ""
		print page " - " escape(heading())
		print ""
		print "# SYNOPSIS"
		print ""
		print "*#include <leasehold/" name ".h>*"
		print ""
		print "# DESCRIPTION"
		print ""
		say_comment()
		print ""
		print "# INTERFACE"
	}
	next
}

in_comment {
	text = $0
	sub(/^ \*/, "", text)
	sub(/^ ([^ ]|$)/, "&", text)
	if (text ~ /^ /)
		text = substr(text, 2)
	line[++lines] = text
	next
}

# Of a function with a body its head is shown.
in_body { if (/^}/) in_body = 0; next }
/^{$/ { in_body = 1; declaration[declared] = declaration[declared] ";"; next }
/^#define LH_/ { declaration[++declared] = $0; next }
!begun || /^#|^LH_(BEGIN|END)_DECLS|^\/\/|^LH_STATIC_ASSERT|^\/\* clang-format/ { next }
/^[ \t]+"[^"]*ABI"\);$/ { next }
/^$/ { if (declared) declaration[++declared] = ""; next }
{
	text = $0
	sub(/^LH_API /, "", text)
	sub(/^(static inline )?LH_NODISCARD /, "", text)
	sub(/^static inline /, "", text)
	declaration[++declared] = text
}

END {
	if (list)
		exit
	while (declared && declaration[declared] == "")
		declared--
	end_item()
	print ""
	print "# SEE ALSO"
	print ""
	print "*lease-inspector*(1), *lease-bench*(1), <leasehold/api.h> for how to read contracts"
}
