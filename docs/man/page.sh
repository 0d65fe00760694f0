#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# page.sh SOURCE VERSION DIRECTORY: the manual page of a program, of its source <program>.1.scd; or that of a
# public header, and one that leads to it for each of the header's functions.
set -eu
source=$1
version=$2
directory=$3
here=$(dirname "$0")

# format PAGE: the page, of standard input; half a page never stands there under its name.
format() {
	scdoc >"$directory/$1.new"
	mv "$directory/$1.new" "$directory/$1"
}

mkdir -p "$directory"
case $source in
*.scd)
	sed "1s/@VERSION@/$version/" "$source" | format "$(basename "$source" .scd)"
	exit
	;;
esac
name=$(basename "$source" .h)
page=leasehold-$name
[ "$name" != leasehold ] || page=leasehold
awk -v name="$name" -v version="$version" -f "$here/header-page.awk" "$source" | format "$page.3"
for function in $(awk -v list=functions -f "$here/header-page.awk" "$source"); do
	echo ".so man3/$page.3" >"$directory/$function.3"
done
