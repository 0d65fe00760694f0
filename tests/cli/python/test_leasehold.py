# SPDX-License-Identifier: Apache-2.0
"""The Python module: what a killed worker of multiprocessing leaves, time-outs, Ctrl-C, asyncio."""

import asyncio
import multiprocessing
import os
import signal
import threading
import unittest
from unittest import mock

import leasehold
from leasehold import _library

# A shell's background job is started with it ignored, and Python leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)
context = multiprocessing.get_context("fork")


def killed_after(work):
    """A worker that does this and is then killed by SIGKILL."""

    def run():
        work()
        os.kill(os.getpid(), signal.SIGKILL)

    worker = context.Process(target=run)
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL, worker.exitcode


class Holder:
    """A worker that holds something until it is told to go."""

    def __init__(self, hold):
        self.ours, theirs = context.Pipe()

        def run():
            with hold():
                theirs.send("holding")
                theirs.recv()

        self.worker = context.Process(target=run)
        self.worker.start()
        self.ours.recv()

    def kill(self):
        self.worker.kill()
        self.worker.join()

    def end(self):
        self.ours.send("go")
        self.worker.join()
        assert self.worker.exitcode == 0


def interrupted_once_it_waits(wait):
    """Calls wait() and has SIGINT sent to the main thread, once a second until it has ended."""
    began, ended = threading.Event(), threading.Event()

    def interrupt():
        began.wait()
        while True:
            # One that comes just before the call sleeps is not noticed by it; so there are more.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            if ended.wait(1):
                return

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        began.set()
        wait()
        return False
    except KeyboardInterrupt:
        return True
    finally:
        ended.set()
        thread.join()


def ctrl_c_after(function):
    """Ctrl-C comes when that call of the C library has just returned, within `with`."""
    called = getattr(_library, function)

    def call(*arguments):
        result = called(*arguments)
        signal.raise_signal(signal.SIGINT)
        return result

    return mock.patch.object(_library, function, call)


def spawned(connection, name, what):
    """A worker that was spawned, not forked: it opens all by name, and holds `what`."""
    arena = leasehold.Arena(name)
    # What only a generator or a handle holds is let go with it.
    holding = None
    if what == "mutex":
        arena.mutex("m", data_size=8).acquire()
    elif what == "writer":
        holding = arena.rwlock("l").writing()
        holding.__enter__()
    elif what == "permits":
        arena.semaphore("s", 2).acquire(2)
    elif what == "draft":
        holding = arena.cell("c", 4).draft()
        holding.__enter__()
    else:
        locks = leasehold.Locks("shm://" + name)
        holding = locks.acquire("job")
    connection.send("holding")
    connection.recv()
    del holding


class InAnArena(unittest.TestCase):
    def setUp(self):
        self.name = f"leasehold-python-{os.getpid()}-{self.id().split('.')[-1]}"[:200]
        self.arena = leasehold.Arena(self.name, exclusive=True)

    def tearDown(self):
        self.arena.close()
        leasehold.Arena.unlink(self.name)

    def test_a_mutex_of_a_killed_worker_is_granted_on_with_owner_died(self):  # G2, G12
        mutex = self.arena.mutex("m", data_size=8)
        killed_after(mutex.acquire)
        with self.assertRaises(leasehold.OwnerDied):
            mutex.acquire()
        with mutex as held:
            self.assertTrue(held.owner_died)
            mutex.data[0] = 9
            held.consistent()
        with mutex.held(timeout=0) as held:
            self.assertFalse(held.owner_died)
            self.assertEqual(mutex.data[0], 9)

    def test_what_killed_workers_of_spawn_held_is_granted_on(self):  # G2, G12
        mutex, lock = self.arena.mutex("m", data_size=8), self.arena.rwlock("l")
        semaphore, cell = self.arena.semaphore("s", 2), self.arena.cell("c", 4)
        # All at once: to spawn takes a while.
        spawn = multiprocessing.get_context("spawn")
        workers = []
        for what in "mutex", "writer", "permits", "draft", "key":
            ours, theirs = spawn.Pipe()
            worker = spawn.Process(target=spawned, args=(theirs, self.name, what))
            worker.start()
            theirs.close()
            workers.append((worker, ours))
        for _, ours in workers:
            self.assertEqual(ours.recv(), "holding")
        locks = leasehold.Locks("shm://" + self.name)
        self.assertFalse(mutex.acquire(blocking=False))
        with self.assertRaises(leasehold.Timeout):
            semaphore.acquire(1, timeout=0)
        with self.assertRaises(leasehold.Timeout), lock.reading(timeout=0):
            self.fail("reads beside a writer")
        with self.assertRaises(leasehold.Timeout), cell.draft(timeout=0):
            self.fail("drafts beside another")
        with self.assertRaises(leasehold.Timeout):
            locks.acquire("job", timeout=0)
        for worker, ours in workers:
            worker.kill()
            worker.join()
            self.assertEqual(worker.exitcode, -signal.SIGKILL)
            ours.close()
        with mutex as held:
            self.assertTrue(held.owner_died)
        with lock.writing() as held:
            self.assertTrue(held.owner_died)
        with semaphore.held(2), cell.draft():
            pass
        with locks.acquire("job") as handle:
            self.assertTrue(handle.owner_died)
        locks.close()

    def test_an_asyncio_wait_for_a_killed_worker_of_spawn_goes_on(self):  # G2
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        worker = spawn.Process(target=spawned, args=(theirs, self.name, "key"))
        worker.start()
        theirs.close()
        self.assertEqual(ours.recv(), "holding")

        async def wait():
            with leasehold.Locks("shm://" + self.name) as locks:
                task = asyncio.ensure_future(locks.acquire_async("job", timeout=60))
                await asyncio.sleep(0)
                self.assertFalse(task.done())
                worker.kill()
                handle = await task
                self.assertTrue(handle.owner_died)
                handle.release()

        asyncio.run(wait())
        worker.join()
        ours.close()

    def test_a_time_out_is_a_timeout_and_holds_nothing(self):
        mutex = self.arena.mutex("m")
        holder = Holder(mutex.held)
        with self.assertRaises(TimeoutError):
            with mutex.held(timeout=0.01):
                self.fail("held")
        self.assertFalse(mutex.acquire(blocking=False))
        self.assertFalse(mutex.acquire(timeout=0.01))
        holder.end()
        self.assertTrue(mutex.acquire())
        mutex.release()

    def test_the_same_thread_twice_is_a_deadlock(self):
        mutex = self.arena.mutex("m")
        with mutex, self.assertRaises(leasehold.Deadlock):
            mutex.acquire()

    def test_waits_give_way_to_ctrl_c(self):
        mutex = self.arena.mutex("m")
        holder = Holder(mutex.held)
        self.assertTrue(interrupted_once_it_waits(mutex.acquire))
        holder.end()
        self.assertTrue(mutex.acquire(blocking=False))
        mutex.release()

    def test_what_is_granted_at_the_moment_of_ctrl_c_is_given_back(self):
        mutex, lock = self.arena.mutex("m"), self.arena.rwlock("l")
        semaphore, cell = self.arena.semaphore("s", 2), self.arena.cell("c", 4)
        for function, take in (
                ("lh_mutex_lock", mutex.acquire),
                ("lh_mutex_lock", lambda: mutex.held().__enter__()),
                ("lh_rwlock_write_lock", lambda: lock.writing().__enter__()),
                ("lh_rwlock_read_lock", lambda: lock.reading().__enter__()),
                ("lh_semaphore_acquire", lambda: semaphore.acquire(2)),
                ("lh_cell_begin", lambda: cell.draft().__enter__())):
            with self.subTest(function):
                with self.assertRaises(KeyboardInterrupt), ctrl_c_after(function):
                    take()
        # To another thread, who has a lease of its own, all are free.
        free = []

        def take_all():
            with mutex.held(0), lock.writing(0), semaphore.held(2, 0), cell.draft(0):
                free.append(True)

        thread = threading.Thread(target=take_all)
        thread.start()
        thread.join()
        self.assertEqual(free, [True])

    def test_ctrl_c_is_handled_as_the_program_wants_it(self):
        mutex = self.arena.mutex("m")
        came = []
        before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
        try:
            with ctrl_c_after("lh_mutex_lock"):
                mutex.acquire()
            self.assertTrue(mutex.mine)
            self.assertEqual(len(came), 1)
            signal.raise_signal(signal.SIGINT)
            self.assertEqual(len(came), 2)
            mutex.release()
        finally:
            signal.signal(signal.SIGINT, before)

    def test_threads_have_leases_of_their_own(self):
        mutex = self.arena.mutex("m")
        tried = []
        with mutex:
            thread = threading.Thread(target=lambda: tried.append(mutex.acquire(blocking=False)))
            thread.start()
            thread.join()
        self.assertEqual(tried, [False])

    def test_readers_share_and_a_killed_writer_is_told(self):
        lock = self.arena.rwlock("l", data_size=4)
        holder = Holder(lock.reading)
        with lock.reading(timeout=0):
            pass
        with self.assertRaises(leasehold.Timeout), lock.writing(timeout=0):
            self.fail("writes beside a reader")
        holder.end()
        writing = lock.writing()
        killed_after(writing.__enter__)
        with lock.writing() as held:
            self.assertTrue(held.owner_died)
            held.consistent()

    def test_reading_turns_into_writing_and_back(self):
        lock = self.arena.rwlock("l")
        with lock.reading() as held:
            held.upgrade(timeout=0)
            self.assertGreater(held.token, 0)
            killed_after(lambda: self.assertRaises(leasehold.Timeout, lock.reading(0).__enter__))
            held.downgrade()
            holder = Holder(lambda: lock.reading(timeout=0))
            with self.assertRaises(leasehold.Timeout):
                held.upgrade(timeout=0.01)
            holder.end()
        with lock.writing(timeout=0):
            pass

    def test_the_elements_of_an_array_are_mutexes(self):
        mutexes = self.arena.mutexes("m", 3, data_size=8)
        killed_after(mutexes[1].acquire)
        for index, mutex in enumerate(mutexes):
            with mutex.held(timeout=60) as held:
                self.assertEqual(held.owner_died, index == 1)
                mutex.data[0] = index + 1
        self.assertEqual([mutex.data[0] for mutex in self.arena.mutexes("m", 3, data_size=8)],
                         [1, 2, 3])

    def test_leased_memory_of_a_killed_worker_comes_back(self):  # G6
        size = 700_000  # there is room for one
        taken = self.arena.memory(size)
        killed_after(taken.__enter__)
        with self.arena.memory(size) as memory:
            self.assertFalse(any(memory[:100]))
            memory[0] = 1
            with self.assertRaises(leasehold.Error):
                with self.arena.memory(size):
                    self.fail("twice")
        with self.arena.memory(size) as memory:
            self.assertEqual(memory[0], 0)

    def test_what_is_closed_says_so_and_its_memory_is_not_read(self):
        arena = leasehold.Arena(self.name)
        mutex = arena.mutex("m", data_size=8)
        region, cell = arena.region("r", 64), arena.cell("c", 4)
        receiver = arena.watch("w", 4).subscribe()
        kept = region[:8]
        with self.assertRaises(BufferError):
            arena.close()
        kept.release()
        arena.close()
        for use in (lambda: region[0], lambda: mutex.data[0], mutex.acquire, cell.read,
                    receiver.read, lambda: arena.mutex("m")):
            self.assertRaises(ValueError, use)

    def test_permits_of_killed_workers_come_back(self):  # G6
        semaphore = self.arena.semaphore("s", 3)
        killed_after(lambda: semaphore.acquire(3))
        with semaphore.held(3, timeout=60):
            self.assertEqual(semaphore.available, 0)
        self.assertEqual(semaphore.available, 3)

    def test_permits_have_numbers_and_a_limit(self):
        semaphore = self.arena.semaphore("s", 3)
        with semaphore.held(2):
            self.assertEqual(len(set(semaphore.slots)), 2)
            semaphore.resize(1)
            self.assertEqual(semaphore.available, -1)
        with self.assertRaises(leasehold.Timeout):
            semaphore.acquire(2, timeout=0.01)

    def test_a_killed_party_breaks_the_barrier(self):
        barrier = self.arena.barrier("b", 2)
        killed_after(barrier.join)
        with self.assertRaises(leasehold.OwnerDied):
            barrier.wait(timeout=60)
        barrier.reset()
        with self.assertRaises(leasehold.Timeout):
            barrier.wait(timeout=0.01)

    def test_parties_meet(self):
        barrier = self.arena.barrier("b", 2)
        results = context.SimpleQueue()

        def party():
            results.put(barrier.wait(timeout=60))
            barrier.leave()

        worker = context.Process(target=party)
        worker.start()
        mine = barrier.wait(timeout=60)
        theirs = results.get()
        worker.join()
        self.assertEqual((mine[0], theirs[0]), (1, 1))
        self.assertEqual(mine[1] + theirs[1], 1)

    def test_a_condition_hands_over(self):
        mutex = self.arena.mutex("m", data_size=1)
        changed = self.arena.condition("c", mutex)

        def answer():
            with mutex:
                changed.wait_for(lambda: mutex.data[0] == 1)
                mutex.data[0] = 2
            changed.notify_all()

        worker = context.Process(target=answer)
        worker.start()
        with mutex:
            self.assertFalse(changed.wait(timeout=0.001))
            mutex.data[0] = 1
            changed.notify()
            self.assertTrue(changed.wait_for(lambda: mutex.data[0] == 2, timeout=60))
        worker.join()

    def test_a_wait_for_a_condition_tells_damage_done_meanwhile(self):  # G12
        mutex = self.arena.mutex("m")
        changed = self.arena.condition("c", mutex)
        with mutex as held:
            worker = threading.Thread(target=lambda: killed_after(
                lambda: (mutex.acquire(), changed.notify_all())))
            worker.start()
            while not held.owner_died:
                changed.wait(timeout=0.1)
            held.consistent()
        worker.join()
        self.assertTrue(mutex.acquire(timeout=60))
        mutex.release()

    def test_waiting_for_a_predicate_ends_in_time_though_woken_all_the_time(self):
        mutex = self.arena.mutex("m")
        changed = self.arena.condition("c", mutex)
        ended = threading.Event()

        def disturb():
            while not ended.wait(0.005):
                changed.notify_all()

        thread = threading.Thread(target=disturb)
        thread.start()
        with mutex:
            self.assertFalse(changed.wait_for(lambda: False, timeout=0.1))
        ended.set()
        thread.join()

    def test_what_make_raises_goes_to_its_caller_and_the_next_one_makes(self):
        once = self.arena.once("o", 4)
        with self.assertRaises(ZeroDivisionError):
            once.call(lambda: bytes([1 // 0]))
        self.assertIsNone(once.value)
        self.assertEqual(once.call(lambda: b"abcd"), b"abcd")
        self.assertEqual(once.call(lambda: b"efgh"), b"abcd")

    def test_a_watch_ends_with_its_killed_sender(self):
        watch = self.arena.watch("w", 100)
        receiver = watch.subscribe()
        self.assertIsNone(receiver.read())
        killed_after(lambda: (watch.send(b"one"), watch.send(b"two")))
        self.assertEqual(list(receiver), [b"two"])

    def test_one_sender_at_a_time(self):
        watch = self.arena.watch("w", 100)
        watch.claim()
        killed_after(lambda: self.assertRaises(leasehold.Error, watch.claim))
        receiver = watch.subscribe()
        watch.close()
        self.assertFalse(receiver.changed(timeout=60))

    def test_a_draft_that_raises_changes_nothing(self):  # G7
        cell = self.arena.cell("c", 4)
        with cell.draft() as draft:
            draft[:] = b"full"
        with self.assertRaises(ZeroDivisionError), cell.draft() as draft:
            draft[:] = b"half"
            draft[0] = 1 // 0
        draft = cell.draft()
        killed_after(draft.__enter__)
        self.assertEqual((cell.read(), cell.version), (b"full", 1))

    def test_errors_say_what_they_are_about(self):
        with self.assertRaises(leasehold.Error) as caught:
            leasehold.Arena("leasehold-no-such-arena", create=False)
        self.assertIn("leasehold-no-such-arena", str(caught.exception))
        self.assertIsInstance(caught.exception, OSError)


class Named(unittest.TestCase):
    def setUp(self):
        self.name = f"leasehold-python-{os.getpid()}"
        self.locks = leasehold.Locks(f"shm://{self.name}")

    def tearDown(self):
        self.locks.close()
        leasehold.Arena.unlink(self.name)

    def hold(self, key):
        with leasehold.Locks(self.locks.url) as locks:
            handle = locks.acquire(key)
            assert handle.valid
            os.kill(os.getpid(), signal.SIGKILL)

    def holding(self, key):
        return leasehold.Locks(self.locks.url).held(key)

    def test_a_killed_holder_is_told_until_it_is_consistent(self):
        killed_after(lambda: self.hold("job"))
        with self.locks.held("job") as handle:
            self.assertTrue(handle.owner_died and handle.valid and handle.token)
            handle.consistent()
        with self.locks.held("job", timeout=0) as handle:
            self.assertFalse(handle.owner_died)

    def test_who_waits_is_granted_when_the_holder_is_killed(self):
        holder = Holder(lambda: self.holding("job"))
        threading.Thread(target=holder.kill).start()
        with self.locks.held("job", timeout=60) as handle:
            self.assertTrue(handle.owner_died)

    def test_a_time_out_leaves_nothing_taken(self):
        holder = Holder(lambda: self.holding("job"))
        with self.assertRaises(TimeoutError):
            self.locks.acquire("job", timeout=0)
        with self.assertRaises(TimeoutError):
            self.locks.acquire("job", timeout=0.01)
        holder.end()
        self.locks.acquire("job", timeout=60).release()

    def test_waiting_gives_way_to_ctrl_c_and_leaves_nothing_taken(self):
        holder = Holder(lambda: self.holding("job"))
        self.assertTrue(interrupted_once_it_waits(lambda: self.locks.acquire("job")))
        holder.end()
        self.locks.acquire("job", timeout=60).release()

    def test_what_is_granted_at_the_moment_of_ctrl_c_is_released(self):
        for function, take in (
                ("lh_acquire_key", lambda: self.locks.acquire("job")),
                ("lh_acquire_all", lambda: self.locks.acquire_all(["a", "b"])),
                ("lh_acquire_path", lambda: self.locks.acquire_path("a/b"))):
            with self.subTest(function):
                with self.assertRaises(KeyboardInterrupt), ctrl_c_after(function):
                    take()
        self.locks.acquire_all(["job", "a", "b", "a/b"], timeout=0).release()

    def test_a_second_ctrl_c_during_the_clean_up_leaves_nothing_pending(self):
        holder = Holder(lambda: self.holding("job"))
        with ctrl_c_after("lh_pending_cancel"), ctrl_c_after("lh_acquire_start"):
            self.assertRaises(KeyboardInterrupt, self.locks.acquire, "job")
        # One that waits in poll, and is finished by the grant though it was to be cancelled.
        with ctrl_c_after("lh_pending_cancel"):
            self.assertTrue(interrupted_once_it_waits(lambda: self.locks.acquire("job")))
        holder.end()
        self.locks.acquire("job", timeout=60).release()
        self.locks.close()  # not while anything is pending

    def test_ctrl_c_ends_a_wait_for_several_keys(self):
        holder = Holder(lambda: self.holding("b"))
        self.assertTrue(interrupted_once_it_waits(lambda: self.locks.acquire_all(["a", "b"])))
        with self.assertRaises(TimeoutError):
            self.locks.acquire_all(["a", "b"], timeout=0.2)
        holder.end()
        with self.locks.acquire_all(["a", "b"], timeout=60):
            with self.assertRaises(TimeoutError):
                self.locks.acquire("a", timeout=0)

    def test_paths_exclude_what_is_below_and_no_neighbours(self):
        with self.locks.acquire_path("bucket/one"):
            with self.locks.acquire_path("bucket/two", timeout=0):
                with self.assertRaises(TimeoutError):
                    self.locks.acquire("bucket", timeout=0)

    def test_versions_change_with_each_holder(self):
        before = self.locks.version("job")
        with self.locks.held("job"):
            self.assertEqual(self.locks.version("job") % 2, 1)
        self.assertNotEqual(self.locks.version("job"), before)

    def test_ctrl_c_in_asyncio_leaves_nothing_taken(self):
        holder = Holder(lambda: self.holding("job"))

        async def wait():
            asyncio.get_running_loop().call_later(
                0.01, lambda: os.kill(os.getpid(), signal.SIGINT))
            await self.locks.acquire_async("job")

        with self.assertRaises(KeyboardInterrupt), ctrl_c_after("lh_pending_cancel"):
            asyncio.run(wait())
        holder.end()
        self.locks.acquire("job", timeout=60).release()
        self.locks.close()

    def test_a_killed_holder_ends_the_wait_of_a_task(self):
        holder = Holder(lambda: self.holding("job"))

        async def wait():
            task = asyncio.ensure_future(self.locks.acquire_async("job", timeout=60))
            await asyncio.sleep(0)
            holder.kill()
            with await task as handle:
                self.assertTrue(handle.owner_died)

        asyncio.run(wait())

    def test_the_time_out_of_a_task_is_a_timeout(self):
        async def wait():
            with self.locks.held("job"):
                with self.assertRaises(TimeoutError):
                    await self.locks.acquire_async("job", timeout=0.01)

        asyncio.run(wait())

    def test_asyncio_waits_beside_other_tasks(self):
        order = []

        async def one(name):
            async with self.locks.holding("job", timeout=60):
                order.append(("in", name))
                await asyncio.sleep(0)
                order.append(("out", name))

        async def all_of_them():
            await asyncio.gather(*(one(name) for name in range(20)))

        asyncio.run(all_of_them())
        self.assertEqual(len(order), 40)
        for before, after in zip(order[::2], order[1::2]):
            self.assertEqual((before[0], after[0], before[1]), ("in", "out", after[1]))

    def test_a_cancelled_task_leaves_nothing_taken(self):
        async def cancelled():
            with self.locks.held("job"):
                task = asyncio.ensure_future(self.locks.acquire_async("job"))
                await asyncio.sleep(0)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
            self.locks.acquire("job", timeout=60).release()

        asyncio.run(cancelled())

    def test_permits_have_numbers(self):
        with self.locks.held("pool", max_holders=2) as one:
            with self.locks.held("pool", max_holders=2) as other:
                self.assertEqual({one.slot, other.slot}, {0, 1})
                with self.assertRaises(leasehold.Timeout):
                    self.locks.acquire("pool", timeout=0, max_holders=2)

    def test_joined_keys_differ(self):
        self.assertNotEqual(leasehold.key_join("a", "bc"), leasehold.key_join("ab", "c"))


if __name__ == "__main__":
    unittest.main()
