# SPDX-License-Identifier: Apache-2.0
# What the checks (check-*.sh) share. ctest runs them (label check; tests/run with CI=true); by hand:
# `bash tests/support/check-<name>.sh`, which works below build/checks.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
trees=${LEASEHOLD_BUILD:-$top/build}/checks
. "$top/tests/support/ctest.bash"

# our_files PATTERN...: the project's files whose names match.
our_files() {
	local tests=(-name "$1")
	local pattern
	for pattern in "${@:2}"; do
		tests+=(-o -name "$pattern")
	done
	find "$top" \( -path "$top/build" -o -path "$top/.git" \) -prune -o \
		-type f \( "${tests[@]}" \) -print | sort
}

# configure TREE [CMAKE ARGUMENT...]: with clang, asserts on, below $trees; nothing of an earlier
# configuration stays.
configure() {
	local tree=$trees/$1
	shift
	cmake --fresh -S "$top" -B "$tree" -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
		-DCMAKE_BUILD_TYPE=RelWithDebInfo -DLEASEHOLD_CHECKS=OFF -DBUILD_TESTING=ON "$@"
}

# run_labels TREE LABEL...: builds what TREE's tests with these labels need and runs them, in the quick
# tier.
run_labels() {
	local tree=$trees/$1
	shift
	cmake --build "$tree" --parallel "$(nproc)" --target "${@/#/tests_}"
	LEASEHOLD_TIER=quick run_ctest "$tree" --label-regex "^($(IFS='|' && echo "$*"))\$"
}

# The reports of sanitizers and valgrind go to files in $reports, so that none is lost with the
# output or the exit status of a child that nobody looks at.
fresh_reports() {
	reports=$trees/$1/reports
	rm -rf "$reports"
	mkdir -p "$reports"
}

# refuse_reports: prints the reports; fails if there are any.
refuse_reports() {
	local report found=0
	for report in "$reports"/*; do
		[ -s "$report" ] || continue
		found=1
		printf '\n%s:\n' "$report"
		cat "$report"
	done
	[ $found -eq 0 ] || echo "There are reports (above)."
	return $found
}
