# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# consume PREFIX WORK VERSION: builds the programs here against what is installed in PREFIX and against
# nothing else, in C and in C++17, shared and static, by pkg-config and by find_package; and runs them.
# Each has to print VERSION, and a shared one to have its library from PREFIX. Needs `fail`.
consume() {
	local prefix=$1 work=$2/consumer version=$3 libdir flags name linked
	local here
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
	local c=(cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror)
	local cpp=(c++ -std=c++17 -Wall -Wextra -Werror)
	libdir=$(dirname "$(find "$prefix" -name 'libleasehold.so')")
	mkdir -p "$work"

	echo "-- pkg-config"
	local -x PKG_CONFIG_PATH=$libdir/pkgconfig
	[ "$(pkg-config --modversion leasehold)" = "$version" ] || fail "pkg-config's version"
	read -ra flags < <(pkg-config --cflags --libs leasehold)
	"${c[@]}" -o "$work/pc_c" "$here/consumer.c" "${flags[@]}" -Wl,-rpath,"$libdir"
	"${cpp[@]}" -o "$work/pc_cpp" "$here/consumer.cpp" "${flags[@]}" -Wl,-rpath,"$libdir"
	read -ra flags < <(pkg-config --static --cflags --libs leasehold)
	flags=("${flags[@]/#-lleasehold/-l:libleasehold.a}")
	"${c[@]}" -o "$work/pc_c_static" "$here/consumer.c" "${flags[@]}"
	"${cpp[@]}" -o "$work/pc_cpp_static" "$here/consumer.cpp" "${flags[@]}"

	echo "-- find_package"
	unset PKG_CONFIG_PATH # liburcu's place is known; Leasehold is found by CMAKE_PREFIX_PATH
	cmake -S "$here" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" &&
		cmake --build "$work/build" >>"$work/log" || fail "find_package: $(cat "$work/log")"
	cp "$work"/build/cmake_* "$work"

	for name in {pc,cmake}_{c,cpp}{,_static}; do
		[ "$("$work/$name")" = "$version" ] || fail "$name"
		linked=$(ldd "$work/$name")
		case $name in
		*_static) [[ $linked != *leasehold* ]] || fail "$name is not static: $linked" ;;
		*) [[ $linked == *"=> $libdir/libleasehold.so"* ]] ||
			fail "$name has another library than the installed one: $linked" ;;
		esac
	done
}
