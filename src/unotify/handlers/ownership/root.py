"""Fake root as handlers of a supervisor: which calls they want, and under which condition.

What the filter can decide by registers it does: of all opens only those are notified that might
write to the store, of mknod(2) only device nodes, of mkdir(2) only what not even its owner could
use, of prctl(2) only what is about capabilities and hiding.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Final, Protocol, Self

from unotify.calls import Call, Condition, call_class
from unotify.handlers.ownership import attributes, credentials, guard, looking, names, owners
from unotify.handlers.ownership.store import Store
from unotify.handlers.ownership.world import World
from unotify.protocol import Fail, Reply

__all__ = ["CALLS", "FakeRoot"]


def _no_ring(world: World, call: Call) -> Reply:
    # What goes through a ring is not seen (B9).
    return Fail(errno.ENOSYS)


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    {
        **looking.CALLS,
        **owners.CALLS,
        **names.CALLS,
        **attributes.CALLS,
        **credentials.CALLS,
        "io_uring_setup": _no_ring,
    }
)
"""What answers each call."""

GUARDING: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    {**names.GUARDING, **guard.CALLS}
)
"""What is asked, besides, to keep the store from being written by those who play root."""


_TYPE: Final = 0o170000


def _is_device(call: str) -> Condition:
    mode: Any = call_class(call).mode  # type: ignore[attr-defined]
    condition: Condition = (mode & _TYPE == stat.S_IFCHR) | (mode & _TYPE == stat.S_IFBLK)
    return condition


def _is_closed(call: str) -> Condition:
    mode: Any = call_class(call).mode  # type: ignore[attr-defined]
    condition: Condition = mode & stat.S_IRWXU != stat.S_IRWXU
    return condition


_WHERE: Final[Mapping[str, Condition]] = MappingProxyType(
    {
        "mknod": _is_device("mknod"),
        "mknodat": _is_device("mknodat"),
        "mkdir": _is_closed("mkdir"),
        "mkdirat": _is_closed("mkdirat"),
        "prctl": credentials.PRCTL,
        **guard.WRITES,
    }
)


class _Supervisor(Protocol):
    def on(
        self, *calls: type[Call] | str, where: Condition | None = None
    ) -> Callable[[Any], Any]: ...


class FakeRoot:
    """Lets programs believe that they run as root; a context manager.

    Files keep the owner, the group, the permissions, the device numbers and the attributes that
    they are given, in a store; the file itself belongs to whoever runs the program, all the
    time. Processes have the ids and capabilities that they give themselves.

    It protects nothing, and lends nobody a right: all that is really done is done as the user.

    Args:
        store: The file that remembers, made if it is not there; ``None``: for this object's
            lifetime only.

    Raises:
        Conflict: Another run has the store, or it is none, or a damaged one.
        KernelError: It cannot be opened or written.

    Example:
        >>> with FakeRoot("build.store") as root, Supervisor() as sup:  # doctest: +SKIP
        ...     root.attach(sup)
        ...     sup.run(["tar", "xpf", "rootfs.tar"])
    """

    def __init__(self, store: str | os.PathLike[str] | None = None) -> None:
        self.store = Store(store)
        try:
            self._world = World(self.store)
        except BaseException:
            self.store.close()
            raise

    def attach(self, supervisor: _Supervisor) -> None:
        """Register handlers of all calls that have to do with it, before a program starts."""
        for name, where in self.wanted():
            supervisor.on(name, where=where)(self.answer)

    def wanted(self) -> Iterator[tuple[str, Condition | None]]:
        """The calls that are answered here, and the condition on their registers."""
        for name in (*CALLS, *(GUARDING if self._world.guarded else ())):
            yield name, _WHERE.get(name)

    def answer(self, call: Call) -> Reply | None:
        """Answer *call*; ``None``: it is none of ours."""
        answer = CALLS.get(call.call_name)
        if answer is None:
            answer = GUARDING.get(call.call_name) if self._world.guarded else None
        return None if answer is None else answer(self._world, call)

    def close(self) -> None:
        """Let the store go."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
