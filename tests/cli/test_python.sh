#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIMEOUT 300
# ctest: NOT_UNDER valgrind it lacks futex_waitv, and its workers are killed
# ctest: NOT_UNDER address python does not link the sanitizer's runtime
# ctest: NOT_UNDER thread python does not link the sanitizer's runtime
# ctest: NOT_UNDER undefined python does not link the sanitizer's runtime
# The Python module, with the library that was built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=/usr/bin/python3 # Debian's, whatever else is on the path
if [ ! -x $python ]; then
	echo "SKIP: cli.python: no $python (package python3)"
	exit 77
fi
export LEASEHOLD_LIBRARY=$LEASEHOLD_BUILD/libleasehold.so PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$here/../../tools/python
exec $python -W error "$here/python/test_leasehold.py" -v
