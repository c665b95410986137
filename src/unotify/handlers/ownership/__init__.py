"""Fake root: an ordinary user's programs believe that they run as root.

`FakeRoot` is the whole of it, as handlers of a supervisor. A policy's verb ``fake-ownership`` does
the same for the calls of its rule, and `fake_ownership` is that verb as a function.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from typing import Any, Final

from unotify.calls import Call
from unotify.handlers.ownership.root import FakeRoot
from unotify.handlers.ownership.store import Store
from unotify.protocol import Reply
from unotify.supervisor.addons import verb

__all__ = ["FakeRoot", "Store", "fake_ownership"]

_roots: Final[dict[str | None, FakeRoot]] = {}
_lock: Final = threading.Lock()


def fake_ownership(call: Call, *, store: str | os.PathLike[str] | None = None) -> Reply | None:
    """Remember owners, modes, devices, attributes and ids instead of setting them.

    All calls of one process that name the same store, and all that name none, belong together. A
    store is opened by the first call that names it, and is let go when the supervisor ends.

    Args:
        call: One that has to do with these; see `unotify.handlers.ownership.root.CALLS`.
        store: A file that remembers from run to run.

    Returns:
        ``None`` for a call that has nothing to do with it.

    Raises:
        TargetError: As the kernel refuses it to root.
        Conflict: Another run has the store, or it is none, or a damaged one.
        KernelError: The store cannot be opened.
    """
    key = None if store is None else os.path.abspath(store)
    root = _roots.get(key)
    if root is None:
        with _lock:
            root = _roots.get(key)
            if root is None:
                root = _roots[key] = FakeRoot(key)
                atexit.register(root.close)
    return root.answer(call)


@verb("fake-ownership")
def _fake_ownership(call: Call, parameters: Mapping[str, Any]) -> Reply | None:
    return fake_ownership(call, store=parameters.get("store"))
