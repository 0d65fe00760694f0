#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What lease-inspector prints as JSON, of an arena in use, with a lost lease and waiters, and of
# damaged copies of it, is what docs/lease-inspector.schema.json says; and the schema refuses
# something.
# ctest: TIMEOUT 300
# ctest: TIER full only a change of lease-inspector would change it
. "$(dirname "$0")/lease_run.bash"
python3 -c 'import jsonschema' 2>/dev/null ||
	{ echo "SKIP: cli.inspector_schema: no python3-jsonschema"; exit 77; }
schema=$top/docs/lease-inspector.schema.json

# Validates the lines of $work/documents: each a document, after a word that says where it is from.
validate() {
	python3 - "$schema" "$1" <<'PYTHON'
import json, sys
import jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
bad = 0
for line in open(sys.argv[2]):
    source, document = line.split(" ", 1)
    for error in validator.iter_errors(json.loads(document)):
        print(source, "/".join(map(str, error.absolute_path)), error.message[:300])
        for inner in error.context:
            print("   ", "/".join(map(str, inner.absolute_path)), inner.message[:160])
        bad += 1
sys.exit(bad > 0)
PYTHON
}

# Documents of a line each. Of thousands of elements a few will do: the validator is slow.
shorten() { jq -c 'if .placements then .placements |= .[:20] else . end'; }

# keep SOURCE WORD...: the document, if there is one: not of what cannot be opened or found, or
# break has nothing to do for; and then it is said why.
keep() {
	local source=$1
	shift
	lease-inspector "$@" --json >"$work/document" 2>"$work/err" || true
	if [ -s "$work/document" ]; then
		shorten <"$work/document" | sed "s/^/$source /" >>"$work/documents"
	else
		grep -q '^lease-inspector: ' "$work/err" ||
			fail "$source: neither a document nor an error"
	fi
}

# counted WHERE: all verbs gave as many documents as an arena in use has to.
counted() {
	local source
	for source in list list_--all leases procs tree tree_--all history check gc_--dry-run \
		rm_--dry-run_--force arenas; do
		[ "$(grep -c "^$1:$source " "$work/documents")" -eq 1 ] ||
			fail "$source: no document"
	done
	[ "$(grep -c "^$1:show " "$work/documents")" -eq 2 ] || fail "show: documents are missing"
	[ "$(grep -c "^$1:break_--dry-run_--force " "$work/documents")" -ge 1 ] ||
		fail "break: no document"
}

# collect WHERE ARENA: a line for each verb.
collect() {
	local verb object
	while read -r verb; do
		# shellcheck disable=SC2086 # options, or none
		keep "$1:${verb// /_}" $verb "$2"
	done <<'VERBS'
list
list --all
leases
procs
tree
tree --all
history
check
gc --dry-run
rm --dry-run --force
VERBS
	for verb in show 'break --dry-run --force'; do
		for object in 'named locks' 'named locks[0]'; do
			# shellcheck disable=SC2086
			keep "$1:${verb// /_}" $verb "$2" "$object"
		done
	done
	keep "$1:arenas" arenas --all
}

echo "-- an arena in use"
hold jobs
lease-run -w 60 jobs -- true &
waiter=$!
until_true sh -c "lease-inspector leases $arena --json | jq -e '.leases[] | select(.waits_for > 0)' >/dev/null"
lease-run other -- sh -c 'kill -KILL $PPID; sleep 100' >/dev/null 2>&1 || true
: >"$work/documents"
collect live "$arena"
counted live
validate "$work/documents" || fail "not what the schema says"

echo "-- events, as lines"
let_go
kill "$waiter" 2>/dev/null || true
wait "$waiter" || true
lease-inspector gc "$arena" >/dev/null
lease-inspector watch "$arena" --all --count 1 | sed 's/^/watch /' >"$work/events"
[ -s "$work/events" ] || fail "no event"
validate "$work/events" || fail "not what the schema says"

echo "-- damage"
cp "/dev/shm/$arena" "/dev/shm/$arena-damaged"
trap 'rm -rf "$work" "/dev/shm/$arena" "/dev/shm/$arena-damaged"' EXIT
: >"$work/documents"
seeds=(1 2)
[ "${LEASEHOLD_TIER-full}" != quick ] || seeds=($((${LEASEHOLD_SEED:-$SRANDOM} % 2 + 1)))
for seed in "${seeds[@]}"; do
	python3 - "/dev/shm/$arena-damaged" $seed <<'PYTHON'
import random, sys
random.seed(int(sys.argv[2]))
with open(sys.argv[1], "r+b") as file:
    for _ in range(2000):
        file.seek(random.randrange(256, 1500000))
        file.write(bytes([random.randrange(256)]))
PYTHON
	collect damaged "$arena-damaged"
done
[ -s "$work/documents" ] || fail "no documents"
validate "$work/documents" || fail "not what the schema says"

echo "-- the schema refuses something"
sed 's/"version":1/"version":2/' "$work/events" >"$work/wrong"
! validate "$work/wrong" >/dev/null || fail "another version is accepted"
sed 's/"time_ns":[0-9]*/"time_ns":1.5/' "$work/events" >"$work/wrong"
! validate "$work/wrong" >/dev/null || fail "a time that is no integer is accepted"
