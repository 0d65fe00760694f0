#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The C and C++ sources are as clang-format writes them, no file is longer than 600 lines, and every file
# names its licence.
. "$(dirname "$0")/check.bash"
status=0
our_files '*.c' '*.h' '*.cpp' '*.hpp' | xargs clang-format --dry-run -Werror || status=1

while IFS= read -r file; do
	lines=$(wc -l <"$file")
	if [ "$lines" -gt 600 ]; then
		echo "$file: $lines lines; 600 at most"
		status=1
	fi
done < <(our_files '*.c' '*.h' '*.cpp' '*.hpp')

while IFS= read -r file; do
	if [ "$file" != "$top/LICENSE" ] && ! head -n 5 "$file" | grep -q 'SPDX-License-Identifier:'; then
		echo "$file: no SPDX-License-Identifier in its first five lines"
		status=1
	fi
done < <(our_files '*.c' '*.h' '*.cpp' '*.hpp' '*.sh' '*.bash' '*.pml' '*.in' '*.awk' '*.cmake' CMakeLists.txt run demo setup package)
exit $status
