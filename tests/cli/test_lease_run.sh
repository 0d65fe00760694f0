#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lease-run: its exit codes, options, environment and messages, as lease-run(1) has them.
# shellcheck disable=SC2016  # $ in the commands is theirs
. "$(dirname "$0")/lease_run.bash"

echo "-- exit codes: the command's"
for wanted in 0 1 7 255; do
	expect "$wanted" lease-run door -- sh -c "exit $wanted"
	[ -z "$out$err" ] || fail "not quiet: $out$err"
done
expect 143 lease-run door -- sh -c 'kill -TERM $$'
expect 137 lease-run door -- sh -c 'kill -KILL $$'

echo "-- exit codes: it cannot be executed, is not there; the lock is free again"
expect 127 lease-run door -- no-such-command
[[ $err == *no-such-command* ]] || fail "$err"
expect 126 lease-run door -- /etc/passwd
[[ $err == *'/etc/passwd'*'Permission denied'* ]] || fail "$err"
expect 126 lease-run door -- "$work"
printf '#!/no/such/interpreter\n' >"$work/script" && chmod +x "$work/script"
expect 127 lease-run door -- "$work/script"
printf 'exit 6\n' >"$work/script"
expect 6 lease-run door -- "$work/script" # as a shell's script
expect 127 lease-run -F door -- no-such-command
expect 126 lease-run -F door -- /etc/passwd
expect 0 lease-run -n door -- true

echo "-- exit codes: used wrongly"
usage() {
	expect 64 lease-run "$@"
	[[ $err == *'lease-run --help'* && -z $out ]] || fail "$* says: $err"
}
usage
usage door
usage door --
usage -z door -- true
usage door -n -- true
usage -w door
usage -w later door -- true
usage -w -1 door -- true
usage -w nan door -- true
usage -w 0x10 door -- true
usage --ttl 0 door -- true
usage --ttl 5y door -- true
usage --on-lost=perhaps door -- true
usage -E 256 door -- true
usage -j 0 door -- true
usage -j 65536 door -- true
usage -s -x door -- true
usage -s -j 2 door -- true
usage -k never door -- true
usage "$(head -c 1025 /dev/zero | tr '\0' n)" -- true

echo "-- exit codes: errors of the lock say what it is about, and what to do"
expect 69 lease-run --url nonsense door -- true
[[ $err == *nonsense* && $err == *'man lease-run'* ]] || fail "$err"
expect 69 lease-run --url "shm://$arena?size=many" door -- true
[[ $err == *many* ]] || fail "$err"
expect 69 lease-run --url nowhere://x door -- true
[[ $err == *nowhere* ]] || fail "$err"
printf 'not an arena' >"/dev/shm/$arena-damaged"
expect 69 lease-run --url "shm://$arena-damaged" door -- true
rm "/dev/shm/$arena-damaged"
[[ $err == *'lease-inspector check'* ]] || fail "$err"
expect 0 lease-run --url "shm://$arena-older" door -- true
# The layout's version, after the magic number (arena/layout.h).
printf '\377' | dd of="/dev/shm/$arena-older" bs=1 seek=8 conv=notrunc status=none
expect 69 lease-run --url "shm://$arena-older?size=1M" door -- true
[[ $err == *"\`rm /dev/shm/$arena-older\`"* ]] || fail "$err"
rm "/dev/shm/$arena-older"

echo "-- conflicts: -n, -w, -E; nothing runs, nothing is said"
hold door
for options in -n --nonblock "-w 0" "-w 0.1" "-w 50ms" "--wait 0.05s" "-F -n"; do
	# shellcheck disable=SC2086  # these are words
	expect 75 lease-run $options door -- touch "$work/ran"
	[ -z "$out$err" ] || fail "not quiet: $err"
done
expect 0 lease-run -n -E 0 door -- touch "$work/ran"
expect 9 lease-run -w 0.01 --conflict-exit-code 9 door -- touch "$work/ran"
expect 9 lease-run -F -n -E 9 door -- touch "$work/ran"
expect 75 lease-run -n -s door -- touch "$work/ran"
[ ! -e "$work/ran" ] || fail "a command ran beside another"
expect 0 lease-run -n window -- true
expect 75 lease-run -v -n door -- true
[[ $err == *'door is held'* ]] || fail "-v says: $err"

echo "-- -v names the holder"
expect 75 lease-run -v -w 2 door -- true
[[ $err == *'waiting for door'* && $err == *"held by sh (lease-run $holder)"* ]] || fail "-v: $err"

echo "-- waiting ends when the lock is free"
lease-run -v door -- touch "$work/ran" 2>"$work/waiter" &
until_true grep -q 'waiting for door' "$work/waiter"
let_go
[ "$code" -eq 0 ] || fail "the holder: $code"
wait $!
[ -e "$work/ran" ] || fail "the waiter did not run"

echo "-- shared: together, and not beside an exclusive one"
hold book -s
expect 0 lease-run -n --shared book -- true
expect 75 lease-run -n book -- true
expect 75 lease-run -n --exclusive book -- true
let_go
expect 0 lease-run -n -e book -- true

echo "-- slots: so many at once, each with its own"
hold desks -j 2
expect 0 lease-run -n --slots 2 desks -- sh -c \
	'echo "$LEASE_SLOT"; lease-run -n -j 2 desks -- true; echo $?'
[[ $out == [01]$'\n75\n' ]] || fail "slots: $out"
first=${out%%$'\n'*}
expect 69 lease-run -n -j 3 desks -- true
[[ $err == *desks* ]] || fail "another number of slots: $err"
let_go
expect 0 lease-run -j 2 desks -- sh -c \
	'lease-run -n -j 2 desks -- printenv LEASE_SLOT; echo "$LEASE_SLOT"'
[ "$(sort <<<"${out%$'\n'}")" = $'0\n1' ] || fail "two slots: $out (before: $first)"

echo "-- the environment"
expect 0 lease-run -n 'a name' -- sh -c \
	'echo "$LEASE_NAME|$LEASE_TOKEN|$LEASE_SLOT|$LEASE_URL|$LEASE_OWNER_DIED"'
token=$(cut -d'|' -f2 <<<"$out")
[ "$out" = "a name|$token||$LEASE_URL|"$'\n' ] && [ "$token" -gt 0 ] || fail "environment: $out"
expect 0 lease-run -F 'a name' -- sh -c \
	'echo "$LEASE_NAME|$LEASE_TOKEN|$LEASE_SLOT|$LEASE_URL|$LEASE_OWNER_DIED"'
[ "$(cut -d'|' -f1,3- <<<"$out")" = "a name||$LEASE_URL|" ] || fail "environment of -F: $out"
[ "$(cut -d'|' -f2 <<<"$out")" -gt "$token" ] || fail "tokens do not rise: $token, $out"

echo "-- a command that was killed, or its lease-run: the next is told, until one exits 0"
died() {
	expect "$1" lease-run door -- sh -c "echo \"died=\$LEASE_OWNER_DIED\"; exit $1"
	[ "$out" = "died=$2"$'\n' ] || fail "$out, not died=$2"
}
died 0 ""
expect 137 lease-run door -- sh -c 'kill -KILL $$'
died 3 1
died 0 1
died 0 ""
died 3 ""
died 0 ""
hold door
kill -KILL "$holder"
wait "$holder" || true
died 0 1
died 0 ""

echo "-- the URL: --url, else LEASE_URL, else one's own arena; nested ones share it"
expect 0 lease-run --url "shm://$arena-2" door -- sh -c 'echo "$LEASE_URL"; lease-run -n door -- true; echo $?; lease-run -n window -- printenv LEASE_URL'
rm "/dev/shm/$arena-2"
[ "$out" = "shm://$arena-2"$'\n75\n'"shm://$arena-2"$'\n' ] || fail "nested: $out"
# What lies at the default URL on this machine, a user's or an older version's, is not for a test.
if own_shm || own_shm --map-root-user; then
	expect 0 "${own_shm[@]}" sh -c \
		'id -u && unset LEASE_URL && lease-run door -- printenv LEASE_URL &&
		LEASE_URL= lease-run door -- printenv LEASE_URL && stat -c "%a %n" /dev/shm/*'
	uid=${out%%$'\n'*}
	url=shm://lease-run-$uid
	[ "$out" = "$uid"$'\n'"$url"$'\n'"$url"$'\n'"600 /dev/shm/lease-run-$uid"$'\n' ] ||
		fail "default URL, an empty LEASE_URL, the arena's mode: $out"
else
	echo "SKIP: cli.lease_run: the default URL: no right to a /dev/shm of one's own"
fi

echo "-- no password is passed on or shown"
for url in redis://user:geheim@host/0 redis://:geheim@host redis://u:ge/he:im@x@host \
	'postgresql://h/d?password=geheim&user=u' 'postgresql://u:geheim@h/?Password=geheim'; do
	expect 69 lease-run --url "$url" door -- true
	[[ $err != *heim* && $err == *"${url%%:*}://"* ]] || fail "$url: $err"
done

echo "-- names of any bytes are different locks"
names=('' ' ' ../door $'line\nbreak' $'\x01\xff\xfe' -n -- 'DOOR' 'ÄÖ' "$(head -c 1024 /dev/zero |
	tr '\0' n)")
hold door
for name in "${names[@]}"; do
	[[ $name != -* ]] || continue
	expect 0 lease-run -n "$name" -- sh -c 'printf %s "$LEASE_NAME"'
	[ "$out" = "$name" ] || fail "LEASE_NAME is $out"
done
expect 0 lease-run -n -- -n -- printenv LEASE_NAME
[ "$out" = $'-n\n' ] || fail "a name like an option: $out"
let_go
expect 69 lease-run --url nowhere://x $'\e[31m' -- true
[[ $err != *$'\e'* ]] || fail "a name's bytes reach the terminal"

echo "-- a command without --, and one with options of its own"
expect 0 lease-run door echo -n x
[ "$out" = x ] || fail "$out"

echo "-- standard input, output and error pass through, other descriptors and the directory, too"
expect 0 sh -c 'printf "\1a\n" | lease-run door -- cat'
[ "$out" = $'\1a\n' ] || fail "cat: $out"
expect 0 lease-run door -- sh -c 'echo error >&2'
[ "$err" = $'error\n' ] || fail "stderr: $err"
expect 0 sh -c 'lease-run door -- sh -c "echo five >&5" 5>&1'
[ "$out" = $'five\n' ] || fail "descriptor 5: $out"
expect 0 sh -c "cd '$work' && lease-run door -- pwd -P"
[ "$out" = "$(cd "$work" && pwd -P)"$'\n' ] || fail "directory: $out"
expect 0 sh -c 'lease-run door -- sh -c "ls /proc/self/fd | wc -l" <&-'
expect 0 lease-run door -- sh -c 'ls -l /proc/self/fd'
[[ $out != *pidfd* && $out != *socket* && $out != *eventfd* ]] || fail "descriptors of ours: $out"
expect 0 lease-run -F door -- sh -c 'ls -l /proc/self/fd'
[[ $out != *pidfd* && $out != *socket* && $out != *eventfd* ]] || fail "descriptors of ours: $out"

echo "-- a reader of the command's output is done when the command is"
[ "$(lease-run door -- echo a | cat)" = a ] || fail "pipe"
[ "$(lease-run -F door -- echo a 2>&1 | cat)" = a ] || fail "pipe with -F"

echo "-- ignored signals, and SIGCHLD, are the command's as they were the caller's"
expect 0 env --ignore-signal=HUP,CHLD lease-run door -- grep SigIgn /proc/self/status
ignored=$((16#$(awk '{ print $2 }' <<<"$out")))
[ $((ignored & 1)) -ne 0 ] && [ $((ignored & (1 << 16))) -ne 0 ] || fail "ignored: $out"
expect 0 lease-run door -- grep SigBlk /proc/self/status
[[ $out == *0000000000000000* ]] || fail "blocked: $out"

echo "-- without fork: the same process, and no child that it does not know"
expect 0 sh -c \
	'echo $$; exec lease-run -F door -- sh -c "echo \$\$; cat /proc/\$\$/task/\$\$/children"'
[ "$(sed -n 1p <<<"$out")" = "$(sed -n 2p <<<"$out")" ] || fail "-F is another process: $out"
expect 3 lease-run -F door -- sh -c 'exit 3'
expect 0 lease-run -w 60 door -- true # its guard lets go soon

echo "-- --ttl in every unit"
for ttl in 5000ms 5 2.5 30s 5m 1h 1d; do
	expect 0 lease-run --ttl "$ttl" door -- sleep 0.01
done

echo "-- the lock is renewed while the command runs"
hold door --ttl 3s
expiry() {
	lease-inspector leases "$arena" --json | jq --arg begin "lease-run $holder " \
		'.leases[] | select(.label != null and (.label | startswith($begin))) | .expires_ns'
}
first=$(expiry)
is_renewed() { [ "$(expiry)" -gt "$first" ]; }
until_true is_renewed
let_go
[ "$code" -eq 0 ] || fail "exit $code of what was renewed"

echo "-- --help and --version"
expect 0 lease-run --help
[[ $out == usage:* && -z $err ]] || fail "$out$err"
expect 0 lease-run -V
[[ $out == 'lease-run '[0-9]* ]] || fail "$out"
expect 71 sh -c 'lease-run --help >/dev/full'
lease-inspector check "$arena" || [ $? -eq 3 ] || fail "the arena"
