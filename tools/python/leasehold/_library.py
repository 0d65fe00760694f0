# SPDX-License-Identifier: Apache-2.0
"""The C library by ctypes: its functions, structs and errors. Other modules of the package build on it."""

import ctypes
import errno
import math
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_uint32
from ctypes import c_uint, c_uint64, c_void_p

NOW = 0
FOREVER = 2**64 - 1
ANYWHERE = 2**64 - 1

CREATE, EXCL, READ_ONLY, ANY_OWNER = 1, 2, 4, 8
GRANT_OWNER_DIED, GRANT_LEADER = 1, 2
ACQUIRE_IN_ORDER, ACQUIRE_THIS_THREAD = 16, 32
LEASE_AUTO_RENEW, LEASE_KILL_ON_EXPIRY, LEASE_INTERRUPTIBLE = 1, 4, 8

# The soname says which binary interface this module was written for.
_lib = ctypes.CDLL(os.environ.get("LEASEHOLD_LIBRARY", "libleasehold.so.0"), use_errno=False)


class Error(OSError):
    """A call failed: errno says how, the text what it means here and what it was about."""


class OwnerDied(Error):
    """The holder before was lost and nobody has declared the data consistent; nothing is held."""


class LeaseLost(Error):
    """The lease or handle is lost: expired, released, or inherited over fork."""


class Timeout(Error, TimeoutError):
    """The time was up, or it would have had to wait."""


class Deadlock(Error):
    """It is held by the same lease, or waiting would have closed a cycle."""


_CLASSES = {
    errno.EOWNERDEAD: OwnerDied,
    errno.ESTALE: LeaseLost,
    errno.ETIMEDOUT: Timeout,
    errno.EDEADLK: Deadlock,
}


def error_of(result):
    """The exception for a negative result of the calling thread's last call."""
    text = _lib.lh_strerror(result).decode()
    detail = _lib.lh_error_detail().decode(errors="replace")
    if detail:
        text = f"{text} ({detail})"
    return _CLASSES.get(-result, Error)(-result, text)


def check(result):
    """The result, or the exception for a negative one."""
    if result < 0:
        raise error_of(result)
    return result


def check_wait(result):
    """check, of a call that was given a time-out: that it would have had to wait is one, too."""
    if result == -errno.EBUSY:
        raise Timeout(errno.EBUSY, str(error_of(result).strerror))
    return check(result)


class Deadline(ctypes.Structure):
    _fields_ = [("ns", c_uint64)]


def deadline_after(timeout):
    """None: for ever; 0: try once; else seconds from now."""
    if timeout is None or timeout == math.inf:
        return Deadline(FOREVER)
    if timeout < 0:
        raise ValueError("a time-out is None, 0 or a number of seconds above it")
    if timeout == 0:
        return Deadline(NOW)
    return _lib.lh_deadline_after(min(int(timeout * 1e9) + 1, FOREVER))


class Grant(ctypes.Structure):
    _fields_ = [
        ("token", c_uint64),
        ("previous", c_uint64),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 3),
    ]


class Primitive(ctypes.Structure):
    """Any handle of 32 bytes."""

    _fields_ = [("private_", c_uint64 * 4)]


class Receiver(ctypes.Structure):
    _fields_ = [("private_", c_uint64 * 8)]


def _options(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": [*fields, ("reserved", c_uint64 * 4)]})


ArenaOptions = _options(
    "ArenaOptions",
    ("size", c_size_t),
    ("max_leases", c_uint32),
    ("max_holds", c_uint32),
    ("mode", c_uint32),
    ("group", c_uint32),
    ("flags", c_uint),
)
LeaseOptions = _options(
    "LeaseOptions",
    ("ttl_ns", c_uint64),
    ("flags", c_uint),
    ("renew_every_ns", c_uint64),
    ("max_renewals", c_uint32),
    ("label", c_char_p),
)
MutexOptions = _options(
    "MutexOptions",
    ("data_size", c_size_t),
    ("name", c_char_p),
    ("count", c_uint32),
    ("flags", c_uint),
)
RwlockOptions = _options(
    "RwlockOptions", ("data_size", c_size_t), ("name", c_char_p), ("flags", c_uint)
)
SemaphoreOptions = _options("SemaphoreOptions", ("permits", c_uint32), ("name", c_char_p))
BarrierOptions = _options(
    "BarrierOptions", ("parties", c_uint32), ("on_death", c_uint), ("name", c_char_p)
)
CondvarOptions = _options("CondvarOptions", ("name", c_char_p))
OnceOptions = _options("OnceOptions", ("data_size", c_size_t), ("name", c_char_p))
WatchOptions = _options(
    "WatchOptions", ("max_size", c_size_t), ("slots", c_uint32), ("name", c_char_p)
)
CellOptions = _options("CellOptions", ("size", c_size_t), ("slots", c_uint32), ("name", c_char_p))
AcquireOptions = _options(
    "AcquireOptions",
    ("mode", c_int),
    ("ttl_ns", c_uint64),
    ("flags", c_uint),
    ("renew_every_ns", c_uint64),
    ("max_renewals", c_uint32),
    ("max_holders", c_uint32),
    ("label", c_char_p),
    ("cancel", c_void_p),
    ("on_loss", c_void_p),
    ("context", c_void_p),
)

INIT = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)
_H = POINTER(Primitive)

_PROTOTYPES = {
    "lh_strerror": (c_char_p, c_int),
    "lh_error_detail": (c_char_p,),
    "lh_version": (c_char_p,),
    "lh_deadline_after": (Deadline, c_uint64),
    "lh_arena_open": (c_int, c_char_p, c_int, POINTER(ArenaOptions), POINTER(c_void_p)),
    "lh_arena_close": (c_int, c_void_p),
    "lh_arena_unlink": (c_int, c_char_p),
    "lh_arena_range": (c_void_p, c_void_p, c_uint64, c_size_t),
    "lh_region_at": (c_int, c_void_p, c_uint64, c_size_t, c_char_p, POINTER(c_uint64)),
    "lh_lease_acquire": (c_int, c_void_p, POINTER(LeaseOptions), POINTER(c_void_p)),
    "lh_lease_release": (c_int, c_void_p),
    "lh_lease_valid": (ctypes.c_bool, c_void_p),
    "lh_region_acquire": (c_int, c_void_p, c_size_t, POINTER(c_uint64)),
    "lh_region_release": (c_int, c_void_p, c_uint64),
    "lh_mutex_lock": (c_int, _H, c_void_p, Deadline, POINTER(Grant)),
    "lh_mutex_unlock": (c_int, _H, c_void_p),
    "lh_mutex_consistent": (c_int, _H, c_void_p),
    "lh_mutex_held": (ctypes.c_bool, _H, c_void_p),
    "lh_mutex_element": (c_int, _H, c_uint32, _H),
    "lh_mutex_data": (c_void_p, _H),
    "lh_rwlock_read_lock": (c_int, _H, c_void_p, Deadline, POINTER(Grant)),
    "lh_rwlock_write_lock": (c_int, _H, c_void_p, Deadline, POINTER(Grant)),
    "lh_rwlock_upgrade": (c_int, _H, c_void_p, Deadline, POINTER(Grant)),
    "lh_rwlock_downgrade": (c_int, _H, c_void_p),
    "lh_rwlock_unlock": (c_int, _H, c_void_p),
    "lh_rwlock_consistent": (c_int, _H, c_void_p),
    "lh_rwlock_data": (c_void_p, _H),
    "lh_semaphore_acquire": (c_int, _H, c_void_p, c_uint32, Deadline),
    "lh_semaphore_release": (c_int, _H, c_void_p, c_uint32),
    "lh_semaphore_available": (c_int64, _H),
    "lh_semaphore_slots": (c_int, _H, c_void_p, POINTER(c_uint32), c_size_t),
    "lh_semaphore_resize": (c_int, _H, c_uint32),
    "lh_barrier_join": (c_int, _H, c_void_p),
    "lh_barrier_wait": (c_int, _H, c_void_p, Deadline, POINTER(Grant)),
    "lh_barrier_leave": (c_int, _H, c_void_p),
    "lh_barrier_reset": (c_int, _H),
    "lh_condvar_wait": (c_int, _H, _H, c_void_p, Deadline, POINTER(Grant)),
    "lh_condvar_signal": (c_int, _H),
    "lh_condvar_broadcast": (c_int, _H),
    "lh_once_call": (c_int, _H, c_void_p, INIT, c_void_p, Deadline),
    "lh_once_done": (ctypes.c_bool, _H),
    "lh_once_data": (c_void_p, _H),
    "lh_watch_claim": (c_int, _H, c_void_p),
    "lh_watch_send": (c_int, _H, c_void_p, c_char_p, c_size_t),
    "lh_watch_close": (c_int, _H, c_void_p),
    "lh_watch_subscribe": (c_int, _H, POINTER(Receiver)),
    "lh_watch_read": (
        c_int, POINTER(Receiver), c_void_p, c_size_t, POINTER(c_size_t), POINTER(c_uint64)),
    "lh_watch_changed": (c_int, POINTER(Receiver), Deadline),
    "lh_cell_read": (c_int, _H, c_void_p, POINTER(c_uint64)),
    "lh_cell_begin": (c_int, _H, c_void_p, Deadline, POINTER(c_void_p), POINTER(Grant)),
    "lh_cell_commit": (c_int, _H, c_void_p),
    "lh_cell_abort": (c_int, _H, c_void_p),
    "lh_locks_open": (c_int, c_char_p, POINTER(c_void_p)),
    "lh_locks_close": (c_int, c_void_p),
    "lh_locks_capabilities": (c_uint, c_void_p),
    "lh_acquire_key": (
        c_int, c_void_p, c_char_p, c_size_t, Deadline, POINTER(AcquireOptions), POINTER(c_void_p)),
    "lh_acquire_all": (
        c_int, c_void_p, POINTER(c_char_p), c_size_t, Deadline, POINTER(AcquireOptions),
        POINTER(c_void_p)),
    "lh_acquire_path": (
        c_int, c_void_p, c_char_p, Deadline, POINTER(AcquireOptions), POINTER(c_void_p)),
    "lh_key_version": (c_int, c_void_p, c_char_p, POINTER(c_uint64)),
    "lh_acquire_start": (
        c_int, c_void_p, c_char_p, Deadline, POINTER(AcquireOptions), POINTER(c_void_p)),
    "lh_pending_fd": (c_int, c_void_p),
    "lh_pending_finish": (c_int, c_void_p, POINTER(c_void_p)),
    "lh_pending_cancel": (c_int, c_void_p),
    "lh_handle_release": (c_int, c_void_p),
    "lh_handle_valid": (ctypes.c_bool, c_void_p),
    "lh_handle_token": (c_uint64, c_void_p),
    "lh_handle_flags": (c_uint, c_void_p),
    "lh_handle_slot": (c_int, c_void_p),
    "lh_handle_remaining": (c_uint64, c_void_p),
    "lh_handle_extend": (c_int, c_void_p, c_uint64),
    "lh_handle_consistent": (c_int, c_void_p),
    "lh_handle_loss_fd": (c_int, c_void_p),
    "lh_key_join": (c_ssize_t, c_char_p, c_size_t, POINTER(c_char_p), c_size_t),
}
for _kind in ("mutex", "rwlock", "semaphore", "barrier", "condvar", "once", "watch", "cell"):
    _PROTOTYPES[f"lh_{_kind}_at"] = (c_int, c_void_p, c_uint64, c_void_p, _H)
    _PROTOTYPES[f"lh_{_kind}_offset"] = (c_uint64, _H)

for _name, (_result, *_arguments) in _PROTOTYPES.items():
    _function = getattr(_lib, _name)
    _function.restype = _result
    _function.argtypes = _arguments
    globals()[_name] = _function


def nanoseconds(seconds):
    return 0 if seconds is None else int(seconds * 1e9)


def name_bytes(name):
    """A name or key as bytes; None stays None."""
    return name.encode() if isinstance(name, str) else name


__all__ = ["byref", "c_void_p"]
