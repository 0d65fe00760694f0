#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ctest: TIER full only a change of lease-run would change it
# lease-run with locks in files: what lease-run(1) says holds there, too, but for --ttl.
# What has nothing to do with where locks are kept is in test_lease_run.sh.
# shellcheck disable=SC2016  # $ in the commands is theirs
. "$(dirname "$0")/lease_run.bash"
mkdir "$work/locks"
export LEASE_URL=file://$work/locks

echo "-- exit codes: the command's; it cannot be executed; the lock is free again"
for wanted in 0 1 255; do
	expect "$wanted" lease-run door -- sh -c "exit $wanted"
	[ -z "$out$err" ] || fail "not quiet: $out$err"
done
expect 143 lease-run door -- sh -c 'kill -TERM $$'
expect 127 lease-run door -- no-such-command
expect 126 lease-run -F door -- /etc/passwd
expect 0 lease-run -w 60 door -- true # the guard of -F lets go soon
[ -e "$work/locks/door.lock" ] || fail "no file for the lock: $(ls "$work/locks")"

echo "-- exit codes: errors of the lock say what they are about"
expect 69 lease-run --url "file://$work/nowhere" door -- true
[[ $err == *"$work/nowhere"* ]] || fail "a missing directory: $err"
expect 69 lease-run --url "file://$work/locks/door.lock" door -- true
[[ $err == *door.lock* ]] || fail "a directory that is a file: $err"
mkdir "$work/locks/room.lock"
expect 69 lease-run -n room -- true
[[ $err == *room.lock* ]] || fail "a lock file that is a directory: $err"

echo "-- conflicts: -n, -w, -E; nothing runs, nothing is said"
hold door
for options in -n "-w 0" "-w 0.1" "-w 50ms" "-F -n" "-n -s"; do
	# shellcheck disable=SC2086  # these are words
	expect 75 lease-run $options door -- touch "$work/ran"
	[ -z "$out$err" ] || fail "not quiet: $err"
done
expect 9 lease-run -w 0.01 -E 9 door -- touch "$work/ran"
[ ! -e "$work/ran" ] || fail "a command ran beside another"
expect 0 lease-run -n window -- true

echo "-- waiting ends when the lock is free"
lease-run -v door -- touch "$work/ran" 2>"$work/waiter" &
waiter=$!
until_true grep -q 'waiting for door' "$work/waiter"
let_go
[ "$code" -eq 0 ] || fail "the holder: $code"
wait "$waiter"
[ -e "$work/ran" ] || fail "the waiter did not run"

echo "-- shared: together, and not beside an exclusive one"
hold book -s
expect 0 lease-run -n -s book -- true
expect 75 lease-run -n book -- true
let_go
expect 0 lease-run -n book -- true

echo "-- slots: so many at once, each with its own"
hold desks -j 2
expect 0 lease-run -n -j 2 desks -- sh -c \
	'echo "$LEASE_SLOT"; lease-run -n -j 2 desks -- true; echo $?'
[[ $out == [01]$'\n75\n' ]] || fail "slots: $out"
expect 69 lease-run -n -j 3 desks -- true
[[ $err == *desks* ]] || fail "another number of slots: $err"
kill -KILL "$holder"
wait "$holder" || true
expect 0 lease-run -w 60 -j 2 desks -- sh -c \
	'lease-run -w 60 -j 2 desks -- printenv LEASE_SLOT; echo "$LEASE_SLOT"'
[ "$(sort <<<"${out%$'\n'}")" = $'0\n1' ] || fail "two slots, after one's holder was killed: $out"

echo "-- the environment; tokens rise"
expect 0 lease-run -n 'a name' -- sh -c \
	'echo "$LEASE_NAME|$LEASE_TOKEN|$LEASE_SLOT|$LEASE_URL|$LEASE_OWNER_DIED"'
token=$(cut -d'|' -f2 <<<"$out")
[ "$out" = "a name|$token||$LEASE_URL|"$'\n' ] && [ "$token" -gt 0 ] || fail "environment: $out"
expect 0 lease-run -n 'a name' -- printenv LEASE_TOKEN
[ "${out%$'\n'}" -gt "$token" ] || fail "tokens do not rise: $token, $out"

echo "-- a command that was killed, its lease-run, or its guard: the next is told, until one exits 0"
died() {
	expect "$1" lease-run -w 60 door -- sh -c "echo \"died=\$LEASE_OWNER_DIED\"; exit $1"
	[ "$out" = "died=$2"$'\n' ] || fail "$out, not died=$2"
}
died 0 ""
expect 137 lease-run door -- sh -c 'kill -KILL $$'
died 3 1
died 0 1
died 0 ""
hold door
command=$(cat "$work/held")
kill -KILL "$holder"
wait "$holder" || true
died 0 1
[ ! -e "/proc/$command" ] || [[ $(cat "/proc/$command/comm" 2>/dev/null) != sh ]] ||
	fail "the command outlived its lease-run, and another ran beside it"
hold door
guard=$(awk '/^PPid:/ { print $2 }' "/proc/$(cat "$work/held")/status")
[ "$guard" != "$holder" ] || fail "no guard"
kill -KILL "$guard"
code=0
wait "$holder" 2>"$work/err" || code=$?
[ "$code" -eq 79 ] || fail "the guard was killed: $code"
died 0 1
died 0 ""

echo "-- the lock file is removed: the lock is lost, which ends the command"
expect 79 lease-run -k 0.1 --on-lost=kill door -- sh -c \
	'rm "$0"; while [ -d "$1" ]; do sleep 0.02; done' \
	"$work/locks/door.lock" "$work"
expect 0 lease-run -n door -- true

echo "-- names of any bytes are different locks"
hold door
for name in '' ' ' ../door $'line\nbreak' DOOR 'ÄÖ' "$(head -c 1024 /dev/zero | tr '\0' n)"; do
	expect 0 lease-run -n "$name" -- sh -c 'printf %s "$LEASE_NAME"'
	[ "$out" = "$name" ] || fail "LEASE_NAME is $out"
done
let_go
[ ! -e "$work/door.lock" ] || fail "a lock outside of its directory"
