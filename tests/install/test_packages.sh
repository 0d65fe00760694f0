#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIMEOUT 900
# ctest: PROCESSORS 2
# ctest: TIER ci it builds a tree of its own, and the packages
# The Debian packages are what they say, go into a root of their own, and are enough there, without the
# tree that they were built in: programs build against the files of -dev in every way and run, and so do the tools
# and the Python module.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/consumer/consume.bash"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
	echo "FAIL: $*"
	exit 1
}
for tool in dpkg dpkg-shlibdeps; do
	command -v $tool >/dev/null && continue
	echo "SKIP: install.packages: no $tool"
	exit 77
done

"$here/../../tools/package" "$work/packages"
field() { dpkg-deb --field "$work/packages/$1"_*.deb "$2"; }
version=$(field libleasehold0 Version)

echo "-- contents and dependencies"
field libleasehold0 Depends | grep -q liburcu8 || fail "libleasehold0 does not want liburcu"
field libleasehold-dev Depends | grep -qF "libleasehold0 (= $version)" || fail "-dev, its library"
field leasehold-tools Depends | grep -q libsmartcols1 || fail "the tools do not want libsmartcols"
apt-get install --simulate "$work"/packages/*.deb >"$work/apt" 2>&1 ||
	fail "apt would not install them: $(cat "$work/apt")"
for package in "$work"/packages/*.deb; do
	files=$(dpkg-deb --contents "$package" | awk '{ print $6 }')
	! grep -v '^\./$\|^\./usr/' <<<"$files" || fail "$package: a file outside of /usr"
	dpkg-deb --fsys-tarfile "$package" | tar --extract --to-stdout |
		grep -c "$(realpath "$here/../..")" &&
		fail "$package names where it was built"
done

echo "-- installed"
mkdir -p "$work/root" "$work/bin" "$work/admin/updates" "$work/admin/info"
: >"$work/admin/status"
# The root has no shell; what the library's script calls is not to change this machine.
printf '#!/bin/sh\necho called >"%s"\n' "$work/ldconfig" >"$work/bin/ldconfig"
chmod +x "$work/bin/ldconfig"
PATH=$work/bin:$PATH dpkg --root="$work/root" --admindir="$work/admin" --force-not-root \
	--force-depends --force-script-chrootless --log="$work/log" --install "$work"/packages/*.deb
[ -s "$work/ldconfig" ] || fail "the library does not tell the loader"
library=$(dirname "$(find "$work/root" -name 'libleasehold.so.0')")
consume "$work/root/usr" "$work" "$version"
export LD_LIBRARY_PATH=$library
for program in "$work"/root/usr/bin/*; do
	"$program" --version | grep -F "$version" || fail "$program --version"
	! readelf --dynamic "$program" | grep 'R.*PATH' || fail "$program has a search path"
done

echo "-- python"
if [ -x /usr/bin/python3 ]; then
	unset LEASEHOLD_LIBRARY
	PYTHONPATH=$work/root/usr/lib/python3/dist-packages /usr/bin/python3 - <<-END
		import leasehold
		assert leasehold.__file__.startswith("$work/root/"), leasehold.__file__
		with open("/proc/self/maps") as maps:
		    assert "$library/libleasehold.so" in maps.read(), "another library"
		name = "leasehold-package-$$"
		with leasehold.Arena(name) as arena, arena.mutex("one") as held:
		    assert leasehold.__version__ == "$version" and held.token == 1
		leasehold.Arena.unlink(name)
	END
else
	echo "-- no /usr/bin/python3: the module is not tried"
fi
