"""Who makes a call."""

from __future__ import annotations

from typing import Any

from unotify.supervisor.opened import Opened

__all__ = ["Identity"]


class Identity(Opened):
    """What a :class:`unotify.Target` tells of its thread, its process and its surroundings."""

    __slots__ = ()

    @property
    def pid(self) -> int:
        """The process (thread group) it belongs to."""
        return self._open().tgid

    @property
    def comm(self) -> str:
        """The thread's name: up to 15 characters that it may choose freely."""
        return self._open().comm()

    @property
    def uid(self) -> int:
        """Its effective user id, as the supervisor's user namespace numbers it."""
        return self._open().ids()[0]

    @property
    def gid(self) -> int:
        """Its effective group id, as the supervisor's user namespace numbers it."""
        return self._open().ids()[1]

    @property
    def exe(self) -> str:
        """The path of the program that it runs, as seen from here."""
        return self._open().exe()

    @property
    def argv(self) -> tuple[bytes, ...]:
        """The arguments of its program, which it may rewrite."""
        return self._open().argv()

    @property
    def cgroup(self) -> str:
        """Its path in the unified hierarchy of cgroups; empty without one."""
        return self._open().cgroup()

    @property
    def started(self) -> int:
        """When its process started, in clock ticks: with `pid`, a name that is not reused."""
        return self._open().started()

    @property
    def credentials(self) -> Any:
        """Its ids, groups, capabilities and umask: a `unotify.kernel.rights.Rights`."""
        return self._open().rights()

    @property
    def umask(self) -> int:
        """The bits that its new files do not get."""
        return int(self._open().rights().umask)

    @property
    def namespaces(self) -> dict[str, int]:
        """The inode numbers of its namespaces, by their kind: ``user``, ``mnt``, ``pid`` ..."""
        return self._open().namespaces()

    @property
    def around(self) -> Any:
        """Its container, namespaces and control groups: what handlers ask about.

        A `unotify.kernel.surroundings.Surroundings`. It tells which capabilities the target has
        in its container, and which process a number means that it gave.
        """
        return self._open().around(self._container)

    @property
    def cwd(self) -> str:
        """Its current directory, as seen from its root."""
        return self._open().directory("cwd")

    @property
    def root(self) -> str:
        """Its root directory, as seen from the supervisor's."""
        return self._open().directory("root")
