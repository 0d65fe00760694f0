#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: NOT_UNDER address the sanitizer adds symbols
# ctest: NOT_UNDER thread the sanitizer adds symbols
# ctest: NOT_UNDER undefined the sanitizer adds symbols
# The binary interface is the kept one, tests/install/libleasehold.abi, or an addition to it: no function
# or field that a program may have been compiled with has gone or moved. After a change that is meant
# (with a new soname, or while nothing was released): tests/install/test_abi.sh --keep
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
library=$(readlink -f "${LEASEHOLD_BUILD:-$here/../../build/test}/libleasehold.so")
describe() {
	# The sources as paths in the repository, wherever it was built.
	abidw --no-corpus-path --no-comp-dir-path --no-show-locs --drop-private-types --exported-interfaces-only --headers-dir "$here/../../include" \
		--suppressions "$here/opaque.abignore" "$library" |
		sed -E "/<abi-instr /s#path='(${here%/tests/install}/|(\.\./)+)#path='#"
}

if [ "${1-}" = --keep ]; then
	describe >"$here/libleasehold.abi"
	exit 0
fi
if ! command -v abidiff >/dev/null; then
	echo "SKIP: install.abi: no abidiff (package abigail-tools)"
	exit 77
fi
if [ "$(uname -m)" != x86_64 ]; then
	echo "SKIP: install.abi: what is kept is the interface on x86-64"
	exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
describe >"$work/now.abi"
status=0
abidiff --no-added-syms --suppressions "$here/opaque.abignore" \
	"$here/libleasehold.abi" "$work/now.abi" || status=$?
if [ $status -ne 0 ]; then
	echo "FAIL: the binary interface has changed (abidiff exit $status)"
	exit 1
fi
