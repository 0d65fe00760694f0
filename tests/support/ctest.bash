# SPDX-License-Identifier: Apache-2.0
# Read by tests/run and the checks.
. "$(dirname "${BASH_SOURCE[0]}")/own_shm.bash"

# run_ctest BUILD [ARGUMENT...]: runs ctest in the build directory BUILD, with its output and its
# exit status; just before its closing lines stand the reasons of all that was skipped, which ctest
# itself keeps to its log. No test at all is a failure. The tests have a /dev/shm of their own where
# that is permitted: those that a time limit ends leave nothing on the machine.
run_ctest() {
	local build=$1
	shift
	own_shm || echo "No right to a /dev/shm of the tests' own; they use the machine's"
	"${own_shm[@]}" ctest --test-dir "$build" --output-on-failure --no-tests=error --parallel "$(nproc)" "$@" |
		awk -v log_file="$build/Testing/Temporary/LastTest.log" '
			# A failed check shows closing lines of its own, but tests follow them.
			/^[0-9]+% tests passed, |^ *Start +[0-9]+: / {
				printf "%s", held
				held = ""
				closing = /passed/
			}
			closing { held = held $0 "\n"; next }
			{ print; fflush() }
			END {
				while (closing && (getline line < log_file) > 0)
					if (line ~ /^SKIP: / && !seen[line]++)
						print line
				printf "%s", held
			}'
}
