#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIMEOUT 3600
# ctest: PROCESSORS 2
# The way of somebody new, from a clean Debian 12: clone, tools/demo, tests/run, tools/package, and a
# program in C, C++ and Python against the installed packages, with what those commands say and
# nothing else. It downloads a Debian and all that tools/packages lists, so it wants to be asked for:
#
#	LEASEHOLD_NEWCOMER=1 tests/install/test_newcomer.sh
#
# as root; LEASEHOLD_MIRROR is another mirror. What is cloned is the last commit. Of the tests the unit tests run,
# quickly: whether all pass is what tests/run says; here it is that a newcomer's tests/run builds
# all and runs. What it leaves is nothing; a line before each step tells the seconds so far.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
mirror=${LEASEHOLD_MIRROR:-http://deb.debian.org/debian}
skip() {
	echo "SKIP: install.newcomer: $*"
	exit 77
}
[ "${LEASEHOLD_NEWCOMER-}" = 1 ] || skip "it downloads a Debian; LEASEHOLD_NEWCOMER=1 asks for it"
[ "$(id -u)" -eq 0 ] || skip "not root"
for tool in debootstrap git unshare wget; do
	command -v $tool >/dev/null || skip "no $tool"
done
git -c safe.directory="*" -C "$top" rev-parse --quiet --verify HEAD >/dev/null || skip "no git repository to be cloned"
wget --quiet --spider --tries=1 --timeout=20 "$mirror/dists/bookworm/Release" ||
	skip "no Debian at $mirror"
unshare --mount --pid --fork true || skip "no namespaces here, which end what is left running"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
step() {
	echo "-- $*: at $SECONDS s"
}
# inside SCRIPT: by a shell of its own in the new system, at the clone once there is one.
inside() {
	# shellcheck disable=SC2016
	unshare --mount --pid --fork --kill-child sh -c '
		mount -t proc proc "$1/proc" && mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm" &&
		exec chroot "$1" /usr/bin/env -i HOME=/root LC_ALL=C.UTF-8 \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -euo pipefail -c "cd ~/leasehold 2>/dev/null || cd; $2"
	' sh "$root" "$1" || {
		echo "FAIL: exit $? of: $1"
		exit 1
	}
}

step "a clean Debian"
debootstrap --variant=minbase --include=git,ca-certificates bookworm "$root" "$mirror" \
	>"$work/log" 2>&1 || {
	tail -20 "$work/log" "$root/debootstrap/debootstrap.log" || :
	echo "FAIL: debootstrap"
	exit 1
}
mkdir -p "$root/dev/shm"

step "clone"
git -c safe.directory="*" -C "$top" bundle create --quiet "$root/root/leasehold.bundle" HEAD
inside 'git -c advice.detachedHead=false clone --quiet leasehold.bundle leasehold'

step "tools/demo"
inside 'tools/demo --kills 20 --recoveries 2'

step "tests/run --quick -L unit"
inside 'tests/run --quick -L unit'

step "tools/package"
inside 'tools/package'
inside 'apt-get install --yes --no-install-recommends ./build/package/*.deb'

step "hello in C, C++ and Python"
inside 'cd tests/install/consumer
	cc -std=c11 -D_GNU_SOURCE -o ~/hello_c consumer.c $(pkg-config --cflags --libs leasehold)
	c++ -std=c++17 -o ~/hello_cpp consumer.cpp $(pkg-config --cflags --libs leasehold)
	~/hello_c
	~/hello_cpp'
cat >"$root/root/hello.py" <<-END
	import leasehold

	with leasehold.Arena("newcomer") as arena, arena.mutex("door") as held:
	    assert held.token == 1
	leasehold.Arena.unlink("newcomer")
	print(leasehold.__version__)
END
inside '/usr/bin/python3 ~/hello.py'
inside 'for tool in lease-inspector lease-run lease-bench lease-trace; do $tool --version; done'
step "done"
