#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang compiles everything without a warning, and its code passes the tests too. (The crash tests, which
# take the longest, see gcc's alone.)
. "$(dirname "$0")/check.bash"
configure clang
cmake --build "$trees/clang" --parallel "$(nproc)"
run_labels clang unit contract
