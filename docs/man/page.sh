#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# page.sh HEADER VERSION DIRECTORY: the manual page of a public header, and one that leads to it for each of
# its functions.
set -eu
header=$1
version=$2
directory=$3
name=$(basename "$header" .h)
page=leasehold-$name
[ "$name" != leasehold ] || page=leasehold
here=$(dirname "$0")

mkdir -p "$directory"
awk -v name="$name" -v version="$version" -f "$here/header-page.awk" "$header" >"$directory/$page.scd"
scdoc <"$directory/$page.scd" >"$directory/$page.3.new"
for function in $(awk -v list=functions -f "$here/header-page.awk" "$header"); do
	echo ".so man3/$page.3" >"$directory/$function.3"
done
rm "$directory/$page.scd"
mv "$directory/$page.3.new" "$directory/$page.3"
