"""TSYNC: one filter for all threads of a process, or for none."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.spawn_support import answer, apart, notify, nr, open_fds, receive, respond, until
from unotify.abi.seccomp import Action, FilterFlag, Operation
from unotify.errors import KernelError
from unotify.kernel._libc import SYS_SECCOMP, prctl, syscall
from unotify.kernel.install import PR_GET_NO_NEW_PRIVS, install

REFUSE = answer({"getpgrp": Action.ERRNO | 11})
ALLOW = answer({})
TSYNC = FilterFlag.TSYNC


def getpgrp() -> int:
    """The errno of getpgrp, which cannot fail by itself."""
    return max(0, -syscall(nr("getpgrp")))


class Sibling:
    """A thread that does what it is told."""

    def __init__(self) -> None:
        self.tid = 0
        self._order: Callable[[], Any] | None = None
        self._result: Any = None
        self._told = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.tid = self.do(threading.get_native_id)

    def _run(self) -> None:
        while True:
            self._told.acquire()
            if self._order is None:
                return
            self._result = self._order()
            self._done.release()

    def do(self, order: Callable[[], Any]) -> Any:
        """The result of *order* in that thread."""
        self._order = order
        self._told.release()
        self._done.acquire()
        return self._result

    def end(self) -> None:
        """End it."""
        self._order = None
        self._told.release()
        self._thread.join()


def no_new_privs() -> int:
    """The bit of the calling thread."""
    return prctl(PR_GET_NO_NEW_PRIVS)


def failure(**options: Any) -> tuple[int, str]:
    """What an install raises."""
    with pytest.raises(KernelError) as caught:
        install(REFUSE, flags=TSYNC, **options)
    return caught.value.errno or 0, str(caught.value)


@pytest.mark.parametrize("listener", [False, True])
def test_unfiltered_threads_are_synchronised(listener: bool) -> None:
    """S1, S4: TSYNC gives all threads the filter and no_new_privs, with a listener or without."""

    def work() -> Any:
        siblings = [Sibling(), Sibling()]
        before = [sibling.do(no_new_privs) for sibling in siblings]
        done = install(REFUSE, flags=TSYNC, listener=listener)
        result = [(sibling.do(getpgrp), sibling.do(no_new_privs)) for sibling in siblings]
        if done.listener is not None:
            done.listener.close()
        return before, result, getpgrp()

    assert apart(work) == ([0, 0], [(11, 1), (11, 1)], 11)


def test_without_tsync_they_are_not() -> None:
    """S3: without TSYNC a thread that exists already stays free, and keeps its privileges."""

    def work() -> Any:
        sibling = Sibling()
        install(REFUSE, listener=False)
        return sibling.do(getpgrp), sibling.do(no_new_privs), getpgrp()

    assert apart(work) == (0, 0, 11)


def test_bare_tsync_with_a_listener_is_refused_by_the_kernel() -> None:
    """S1: TSYNC | NEW_LISTENER is EINVAL; `install` adds TSYNC_ESRCH, which makes it legal."""
    both = int(TSYNC | FilterFlag.NEW_LISTENER)

    assert syscall(SYS_SECCOMP, Operation.SET_MODE_FILTER, both, 0) == -errno.EINVAL

    def work() -> FilterFlag:
        done = install(REFUSE, flags=TSYNC)
        assert done.listener is not None
        done.listener.close()
        return done.enforcement.flags

    assert apart(work) & FilterFlag.TSYNC_ESRCH


def test_all_threads_notify_on_the_listener() -> None:
    """S1: after TSYNC with a listener every thread's call arrives there."""

    def work() -> tuple[set[int], set[int]]:
        # The interpreter would wait for itself: the threads belong to a forked process,
        # which inherits nothing but hands its listener over.
        import socket

        from unotify.kernel.handover import receive_listener, send_listener

        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            siblings = [Sibling() for _ in range(3)]
            tids = [sibling.tid for sibling in siblings]
            done = install(notify("getpgrp"), flags=TSYNC)
            assert done.listener is not None
            send_listener(theirs, done.listener, ",".join(map(str, tids)).encode())
            done.listener.close()
            for sibling in siblings:
                sibling.do(getpgrp)
            os._exit(0)
        listener, data = receive_listener(ours)
        seen = set()
        for _ in range(3):
            raw = receive(listener)
            assert raw is not None
            seen.add(int.from_bytes(raw[8:12], "little"))
            respond(listener, raw)
        os.waitpid(pid, 0)
        listener.close()
        return seen, set(map(int, data.decode().split(",")))

    seen, tids = apart(work)

    assert seen == tids
    assert len(tids) == 3


def test_diverged_thread_is_named() -> None:
    """S2: without a listener the kernel returns the diverged thread's id: the error names it."""

    def work() -> Any:
        sibling = Sibling()
        sibling.do(lambda: install(ALLOW, listener=False))
        number, message = failure(listener=False)
        return number, f"thread {sibling.tid} " in message, getpgrp(), sibling.do(getpgrp)

    assert apart(work) == (errno.ESRCH, True, 0, 0)


def test_diverged_thread_with_a_listener() -> None:
    """S2, F8: with a listener it is ESRCH; no filter and no descriptor is left."""

    def work() -> Any:
        sibling = Sibling()
        sibling.do(lambda: install(ALLOW, listener=False))
        before = open_fds()
        number, _ = failure()
        return number, open_fds() == before, getpgrp(), sibling.do(getpgrp)

    assert apart(work) == (errno.ESRCH, True, 0, 0)


def test_common_ancestor() -> None:
    """A filter that all threads have already is no divergence."""

    def work() -> Any:
        install(ALLOW, listener=False)
        sibling = Sibling()
        install(REFUSE, flags=TSYNC, listener=False)
        return sibling.do(getpgrp)

    assert apart(work) == 11


def test_death_of_the_diverged_thread() -> None:
    """When the diverged thread is gone, TSYNC works."""

    def work() -> Any:
        sibling, other = Sibling(), Sibling()
        sibling.do(lambda: install(ALLOW, listener=False))
        number, _ = failure(listener=False)
        tid = sibling.tid
        sibling.end()
        # join() returns a moment before the kernel has let it go.
        until(lambda: not os.path.exists(f"/proc/self/task/{tid}"))
        install(REFUSE, flags=TSYNC, listener=False)
        return number, other.do(getpgrp)

    assert apart(work) == (errno.ESRCH, 11)


def test_one_thread() -> None:
    """TSYNC of a process with one thread works, with both flags too."""

    def work() -> int:
        install(REFUSE, flags=TSYNC | FilterFlag.TSYNC_ESRCH, listener=False)
        return getpgrp()

    assert apart(work) == 11
