"""Threads that are held by a pidfd."""

from __future__ import annotations

import errno
import os
import subprocess
import threading

import pytest

from tests.kernel.targets import until
from unotify.errors import Refused
from unotify.kernel.held import HeldThread


def test_a_process_that_ends() -> None:
    """It is told by its process as long as it lives; afterwards it is ESRCH."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        with HeldThread(process.pid) as held:
            assert held.process == process.pid
            process.kill()
            process.wait()
            with pytest.raises(Refused) as caught:
                held.require()
        assert caught.value.errno == errno.ESRCH
        with pytest.raises(Refused, match=f"no thread {process.pid}"):
            HeldThread(process.pid)


def test_a_thread_that_ends() -> None:
    """A thread of a process that lives on is held by itself."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    tid = thread.native_id
    assert tid is not None
    with HeldThread(tid) as held:
        assert held.process == os.getpid()
        end.set()
        thread.join()
        until(lambda: not os.path.exists(f"/proc/self/task/{tid}"))
        with pytest.raises(Refused):
            held.require()
