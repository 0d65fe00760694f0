# SPDX-License-Identifier: Apache-2.0
"""gdb printers for libleasehold: handles of primitives, and words in shared memory.

gdb loads it with the library where it is installed (share/gdb/auto-load), else: source leasehold.py

    print mutex                         a handle: who owns it, its token and marks
    print *mutex.private_[1]@8          (the bytes that it stands for)
    print $lh_word(0x40001)             a mutex's word; $lh_word(word, "rwlock") one of another kind
    print $lh_state(word)               the state word of a lease slot
    print $lh_hold(word)                a record of a hold table
    print $lh_owner(word)               a reference to an owner entry
    print $lh_edge(word)                what a lease waits for

With the library's own debug information structs of arena/layout.h print like that, and handles say which process
owns them. docs/debugging.md has examples; src/word.h and arena/layout.h what the bits mean. It only reads.
A core file has the arena only if /proc/PID/coredump_filter has bit 3 (file-backed shared memory).
"""

import gdb
import gdb.printing

LINE = 64
OWNER = 0x3FFF
KINDS = ["none", "region", "mutex", "rwlock", "semaphore", "barrier", "condvar", "once", "watch", "cell"]
MODES = ["intent", "exclusive", "shared", "region", "intent-shared", "intent-exclusive", "permit"]
STATES = ["free", "live", "expired", "dead"]
# What stands between owner and token in the first word, by kind; src/word.h, rwlock.h, once.h, slots.h.
FLAGS = {
    "mutex": [(14, "mark"), (15, "plain"), (16, "died"), (17, "queued")],
    "rwlock": [(14, "mark"), (15, "fenced"), (16, "died"), (17, "wanted")],
    "once": [(15, "done")],
    "watch": [(14, "mark")],
}
FLAGS["semaphore"] = FLAGS["mutex"]  # its baton
FLAGS["cell"] = FLAGS["watch"]
TOKEN_SHIFT = {"watch": 19, "cell": 19}


def name_of(names, number):
    return names[number] if number < len(names) else "?%d" % number


def u64(value):
    return int(value) & 0xFFFFFFFFFFFFFFFF


def read(address, size):
    """An unsigned number of the inferior's memory (little-endian like all that the library runs on)."""
    return int.from_bytes(gdb.selected_inferior().read_memory(address, size).tobytes(), "little")


def word_text(word, kind="mutex"):
    if kind == "condvar":
        return "0x%x" % word
    if kind == "barrier":
        return "%d phases completed%s" % (word >> 21, ", broken" if word & 1 else "")
    owner = word & OWNER
    text = "owned by slot %d" % (owner - 1) if owner else "free"
    if kind == "once":
        text = "done" if word & 1 << 15 else "running, by slot %d" % (owner - 1) if owner else "absent"
    flags = [name for bit, name in FLAGS.get(kind, []) if word & 1 << bit and name != "done"]
    if kind in ("watch", "cell"):
        flags.append("newest in value slot %d" % (word >> 15 & 0xF))
    return ", ".join([text, "token %d" % (word >> TOKEN_SHIFT.get(kind, 18))] + flags)


def state_text(word):
    text = name_of(STATES, word >> 62)
    if word & 1 << 61:
        return "%s, expires at %d ms, incarnation %d (low 21 bits)" % (
            text,
            word >> 21 & (1 << 40) - 1,
            word & (1 << 21) - 1,
        )
    return "%s, no TTL, incarnation %d" % (text, word & (1 << 61) - 1)


def hold_text(word):
    if not word:
        return "empty"
    text = "%s %s at offset %d" % (
        name_of(KINDS, word >> 60),
        name_of(MODES, word >> 56 & 0xF),
        (word & 0xFFFFFFFF) * LINE,
    )
    count = word >> 32 & 0xFFFFFF
    return text if count <= 1 else "%s, count %d" % (text, count)


def owner_text(word):
    return "owner entry %d, generation %d" % (word & 0xFFFF, word >> 16) if word else "nobody"


def edge_text(word):
    wanted = word >> 32
    text = "waits for offset %d" % (wanted * LINE) if wanted else "waits for nothing"
    return "%s (sequence %d%s)" % (text, (word & 0xFFFFFFFE) >> 1, ", poked" if word & 1 else "")


def owner_process(arena_address, slot):
    """What the arena's tables say of a slot; "" without the library's debug information."""
    try:
        arena = gdb.Value(arena_address).cast(gdb.lookup_type("struct lh_arena").pointer())
        if slot >= int(arena["lease_count"]):
            return ""
        lease = arena["leases"][slot]
        entry = arena["owners"][u64(lease["owner"]) & 0xFFFF]
        return " (%s, pid %d, tid %d)" % (
            name_of(STATES, u64(lease["state"]) >> 62),
            int(entry["pid"]),
            int(entry["tid"]),
        )
    except gdb.error:
        return ""


class Handle:
    """A caller's handle: the arena, the object's address, the record's word, one of its own."""

    def __init__(self, value):
        self.words = [u64(value["private_"][i]) for i in range(4)]

    def to_string(self):
        arena, address, record = self.words[:3]
        if not arena:
            return "not placed"
        kind = name_of(KINDS, record >> 60)
        text = "%s at offset %d" % (kind, (record & 0xFFFFFFFF) * LINE)
        try:
            word = read(address, 8)
        except gdb.MemoryError:
            return text + ": its memory is not there (coredump_filter bit 3)"
        process = owner_process(arena, (word & OWNER) - 1) if word & OWNER and kind != "barrier" else ""
        return "%s: %s%s" % (text, word_text(word, kind), process)


class Words:
    """A struct of arena/layout.h: every field, with what its word says."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return None

    def text(self, name, number):
        return None

    def children(self):
        for field in self.value.type.strip_typedefs().fields():
            if not field.name or field.name in ("pad", "reserved"):
                continue
            value = self.value[field.name]
            text = None
            if value.type.strip_typedefs().code == gdb.TYPE_CODE_INT:
                text = self.text(field.name, u64(value))
            yield field.name, value if text is None else "0x%x: %s" % (u64(value), text)


class ObjectHeader(Words):
    def text(self, name, number):
        kind = name_of(KINDS, int(self.value["kind"]))
        if name == "word":
            return word_text(number, kind)
        if name == "kind":
            return kind
        if name in ("last_waiter", "heir"):
            return "slot %d" % ((number & OWNER) - 1) if number & OWNER else "nobody"
        return None


class LeaseSlot(Words):
    def text(self, name, number):
        texts = {"state": state_text, "owner": owner_text, "edge": edge_text, "condition": edge_text}
        return texts[name](number) if name in texts else None


class HoldRecord:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return hold_text(u64(self.value["object"]))


class Lease:
    """A lease as its user's process knows it."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        slot = self.value["slot"].dereference()
        return "lease %d, slot %d: %s; %s" % (
            u64(self.value["id"]),
            int(self.value["index"]),
            state_text(u64(slot["state"])),
            edge_text(u64(slot["edge"])),
        )


class Function(gdb.Function):
    """One of the texts above, as a convenience function."""

    def __init__(self, name, text):
        self.text = text
        super().__init__(name)

    def invoke(self, word, *kind):
        return self.text(u64(word), *[each.string() for each in kind])


def register(objfile):
    printers = gdb.printing.RegexpCollectionPrettyPrinter("leasehold")
    handles = "^lh_(mutex|rwlock|semaphore|barrier|condvar|once|watch|cell)$"
    printers.add_printer("handle", handles, Handle)
    printers.add_printer("lh_lease", "^lh_lease$", Lease)
    printers.add_printer("object_header", "^object_header$", ObjectHeader)
    printers.add_printer("lease_slot", "^lease_slot$", LeaseSlot)
    printers.add_printer("hold_record", "^hold_record$", HoldRecord)
    # Everywhere: handles are variables of programs, not of the library.
    gdb.printing.register_pretty_printer(objfile, printers, replace=True)
    for name, text in (
        ("lh_word", word_text),
        ("lh_state", state_text),
        ("lh_hold", hold_text),
        ("lh_owner", owner_text),
        ("lh_edge", edge_text),
    ):
        Function(name, text)


register(None)
