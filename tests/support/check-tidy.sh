#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang-tidy has nothing to say (.clang-tidy tells what it is asked).
. "$(dirname "$0")/check.bash"
configure tidy
sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$trees/tidy/compile_commands.json" |
	grep "^$top/.*\.c\$" | grep -v "^$trees/" | sort -u |
	xargs --max-procs="$(nproc)" --max-args=1 clang-tidy --quiet -p "$trees/tidy" 2>&1 |
	sed '/^[0-9]* warnings* generated\.$/d' # counts of what is switched off
