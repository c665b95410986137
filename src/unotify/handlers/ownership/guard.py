"""Nobody who plays root opens the store to write; see `unotify.handlers.ownership.names`.

Opening a new file that must not exist yet (O_CREAT with O_EXCL) cannot reach the store, nor can
reading; the filter lets both go. All other opens are done here, of the very inode that was looked
at.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from unotify.calls import Call, Condition, call_class
from unotify.handlers.ownership.world import World
from unotify.protocol import Fail, Reply

__all__ = ["CALLS", "WRITES"]

_MODES: Final = os.O_WRONLY | os.O_RDWR
_NEW: Final = os.O_CREAT | os.O_EXCL


def _writes(call: str) -> Condition:
    flags: Any = call_class(call).flags  # type: ignore[attr-defined]
    writes = (flags & _MODES != 0) | (flags & os.O_TRUNC != 0)
    condition: Condition = writes & (flags & _NEW != _NEW) & (flags & os.O_PATH == 0)
    return condition


WRITES: Final[Mapping[str, Condition]] = MappingProxyType(
    {call: _writes(call) for call in ("open", "openat")}
)
"""When a call might write to a file that exists; of others this is in memory."""


def _change(world: World, call: Call) -> Reply:
    if call.call_name == "openat2":
        how: Any = call.how  # type: ignore[attr-defined]
        if how.flags & os.O_PATH:
            # Nobody can be given such a descriptor (A5), and what it asks for is in memory, so it
            # cannot be let go. Programs know kernels without this call.
            return Fail(errno.ENOSYS)
    target = call.caller
    if target.pin_argument(call, "path") and world.is_store(target.look_at("path")):
        return Fail(errno.EACCES)
    done: Reply = call.perform()
    return done


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    dict.fromkeys(("open", "openat", "openat2", "creat", "truncate", "truncate64"), _change)
)
"""What answers each call."""
