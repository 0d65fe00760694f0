#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang compiles everything without a warning, and its code passes the tests too.
. "$(dirname "$0")/check.bash"
configure clang
run_labels clang 'unit|contract|crash'
