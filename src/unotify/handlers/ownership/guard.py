"""Nobody who plays root opens the store to write; see `unotify.handlers.ownership.names`.

Opening a new file that must not exist yet (O_CREAT with O_EXCL) cannot reach the store, nor can
reading; the filter lets both go. All other opens are done here, of the very inode that was looked
at.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from unotify.calls import Call, Condition, call_class
from unotify.calls.acts import plan
from unotify.handlers.ownership.world import World
from unotify.protocol import Fail, InstallFd, Reply

__all__ = ["CALLS", "WRITES"]

_MODES: Final = os.O_WRONLY | os.O_RDWR
_NEW: Final = os.O_CREAT | os.O_EXCL
_RETRIES: Final = 16


def _writes(call: str) -> Condition:
    flags: Any = call_class(call).flags  # type: ignore[attr-defined]
    writes = (flags & _MODES != 0) | (flags & os.O_TRUNC != 0)
    condition: Condition = writes & (flags & _NEW != _NEW) & (flags & os.O_PATH == 0)
    return condition


WRITES: Final[Mapping[str, Condition]] = MappingProxyType(
    {call: _writes(call) for call in ("open", "openat", "open_by_handle_at")}
)
"""When a call might write to a file that exists; of others this is in memory."""


def _change(world: World, call: Call) -> Reply:
    if call.call_name == "openat2":
        how: Any = call.how  # type: ignore[attr-defined]
        if how.flags & os.O_PATH:
            # Nobody can be given such a descriptor (A5), and what it asks for is in memory, so it
            # cannot be let go. Programs know kernels without this call.
            return Fail(errno.ENOSYS)
    for _ in range(_RETRIES):
        if not call.caller.pin_argument(call, "path"):
            made = _make(call)
            if made is None:
                continue
            return made
        if world.is_store(call, "path"):
            return Fail(errno.EACCES)
        done: Reply = call.perform()
        return done
    return Fail(errno.EBUSY)


def _make(call: Call) -> Reply | None:
    """Open a name that stands for nothing; ``None``: somebody has put something there meanwhile."""
    target = call.caller
    act = plan(call)
    if act.name != "openat" or not act.creates:
        return Fail(errno.ENOENT)
    # What is there by now might be a mount of the store.
    new = replace(act, values={**act.values, "flags": int(act.values["flags"] or 0) | os.O_EXCL})
    done = target.act(new, pinned=("path",))
    if done.value == -errno.EEXIST:
        target.unpin("path")
        return None
    if done.value < 0:
        return Fail(-done.value)
    return InstallFd(done.fd, cloexec=act.cloexec, owned=True)


def _by_handle(world: World, call: Call) -> Reply:
    # Root of a user namespace may do it since Linux 6.12, without any path.
    return Fail(errno.EPERM)


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    {"open_by_handle_at": _by_handle}
    | dict.fromkeys(("open", "openat", "openat2", "creat", "truncate", "truncate64"), _change)
)
"""What answers each call."""
