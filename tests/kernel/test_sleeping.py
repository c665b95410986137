"""Whether a thread of ours waits for something, as its leader's understudy wants to know."""

from __future__ import annotations

import threading

from tests.kernel.targets import until
from unotify.kernel import default_kernel


def test_who_sleeps() -> None:
    """Whoever waits for others does; who runs, or has ended, does not."""
    kernel, go = default_kernel(), threading.Event()
    thread = threading.Thread(target=go.wait, args=(20,))
    thread.start()
    tid = thread.native_id
    assert tid is not None
    until(lambda: kernel.sleeps(tid))
    assert not kernel.sleeps(threading.get_native_id())
    go.set()
    thread.join()
    until(lambda: not kernel.sleeps(tid))
