# SPDX-License-Identifier: Apache-2.0
"""The Python module: what a killed worker of multiprocessing leaves, time-outs, Ctrl-C, asyncio."""

import asyncio
import multiprocessing
import os
import signal
import threading
import unittest

import leasehold

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

    def test_permits_of_killed_workers_come_back(self):  # G6
        semaphore = self.arena.semaphore("s", 3)
        killed_after(lambda: semaphore.acquire(3))
        with semaphore.held(3, timeout=60):
            self.assertEqual(semaphore.available, 0)
        self.assertEqual(semaphore.available, 3)

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

    def test_a_draft_that_raises_changes_nothing(self):  # G7
        cell = self.arena.cell("c", 4)
        with cell.draft() as draft:
            draft[:] = b"full"
        with self.assertRaises(ZeroDivisionError), cell.draft() as draft:
            draft[:] = b"half"
            draft[0] = 1 // 0
        draft = cell.draft()
        killed_after(draft.__enter__)
        self.assertEqual(cell.read(), b"full")

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
