"""A name that is made for a target in one go, where that is plain; see ``_making.c``.

It is the native part's: without that all goes the long way, step by step
(`unotify.kernel.acting`), and so does whatever is not plain.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from unotify.abi.types import NotificationId
from unotify.calls.acts import Act
from unotify.kernel.acts import number
from unotify.kernel.home import Home
from unotify.kernel.native import backend, module
from unotify.kernel.nodes import Node
from unotify.kernel.rights import Rights

__all__ = ["Made", "Maker"]

_MADE: Final = ("mknodat", "mkdirat")


class Made(NamedTuple):
    """What came of an act that makes a name.

    Attributes:
        value: The result, or a negative errno.
        directory: A descriptor (O_PATH) of the directory, which is the caller's.
        name: The name in it.
        status: What ``/proc/TID/status`` told of whom it was made for.
        node: What was made; zeros if somebody has taken it away already.
    """

    value: int
    directory: int
    name: bytes
    status: bytes
    node: Node

    @property
    def fd(self) -> int:
        """A new descriptor for the target: there is none."""
        return -1

    @property
    def outs(self) -> Mapping[str, bytes]:
        """What was written to the target's memory: nothing."""
        return {}

    @property
    def rights(self) -> Rights:
        """Those that it was made with, but for what was lent."""
        return Rights.parse(self.status)


class Maker:
    """Makes names, for targets in the supervisor's own user namespace."""

    def __init__(self) -> None:
        native = backend() == "native"
        self._make: Any = module().make_name if native else None
        self._user = os.readlink("/proc/self/ns/user") if native else ""

    def make(
        self,
        listener: int,
        id: NotificationId,
        home: Home,
        act: Act,
        *,
        needed: int = 0,
        lent: int = 0,
        refused: int = 0,
        container: str | None = None,
    ) -> Made | None:
        """Do *act* as the thread of *home*, if it still waits for the answer to *id*.

        Args:
            listener: A descriptor of the listener that *id* is of.
            id: The notification.
            home: Its thread's directory in ``/proc``.
            act: ``mknodat`` or ``mkdirat``.
            needed: Capabilities that the thread has to have in its user namespace, as a bit set.
            lent: Those of the supervisor that are lent for this act.
            refused: ``ST_*`` flags (statvfs(3)) that the mount must not have.
            container: The user namespace, as its link says, that the thread has to be in, too.

        Returns:
            ``None``: it is not plain, or a condition does not hold; nothing is left of it.
        """
        if self._make is None or act.name not in _MADE or home.user_namespace != self._user:
            return None
        if container is not None and container != self._user:
            return None
        spot, values = act.spots["path"], act.values
        found = self._make(
            *(listener, id, home.directory, home.status_fd(), spot.path, spot.dirfd),
            *(needed, lent, refused, number(act.name), values["mode"], values.get("dev", 0)),
        )
        if found is None:
            return None
        value, directory, status, major, minor, inode, uid, mount = found
        name = spot.path.rpartition(b"/")[2]
        node = Node((os.makedev(major, minor), inode), uid, mount)
        return Made(value, directory, name, status, node)
