"""Looking at what a target's arguments name: the inode itself, and whose child it is."""

from __future__ import annotations

from functools import cache
from typing import cast

from unotify.abi import model
from unotify.abi.model import Role
from unotify.calls import Call
from unotify.calls.lookups import Spot, spot_of
from unotify.errors import Unsupported
from unotify.kernel.interface import Lookable, Looking, Thread
from unotify.kernel.lives import Life
from unotify.supervisor.pins import Pins

__all__ = ["Looks"]


class Looks(Pins):
    """What a :class:`unotify.Target` can tell of files and of processes."""

    __slots__ = ()

    def look(self, call: Call, argument: str, *, flags: int = 0, mask: int = 0) -> bytes:
        """Tell what a path or descriptor argument of *call* is; marks the call.

        The answer is of one thing, whatever is renamed meanwhile: of what was pinned, if
        something was pinned for *argument* before, so of what an act then acts on. Of a name
        that is to be moved or removed it is of what the name stands for.

        Args:
            call: What it calls.
            argument: The name of its argument.
            flags: How fresh the answer is to be: ``AT_STATX_*`` and AT_NO_AUTOMOUNT.
            mask: What is asked for; STATX_BASIC_STATS and STATX_BTIME always are.

        Returns:
            A ``struct statx`` of our kernel's, 256 bytes, with ids as the supervisor's user
            namespace numbers them; `unotify.calls.stats` takes it apart.

        Raises:
            Refused: The kernel would refuse the path too; propagates as its errno.
            TargetGone: It does not wait any more.
            KernelError: The supervisor has no ptrace rights over it.
            Unsupported: The kernel is a simulated one.
        """
        self._exchange.memory_read = True
        thread = self._looking()
        # All that is read until the end is asked about once, there.
        thread.defer()
        try:
            if argument in self._pins:
                found = self._held(argument).look(flags=flags, mask=mask)
            else:
                spot = _spot(call, argument)
                if spot.parent:
                    spot = spot._replace(parent=False, follow=False)
                found = thread.look(spot, flags=flags, mask=mask)
            thread.settle()
            return found
        finally:
            thread.forget()

    def pin_argument(self, call: Call, argument: str) -> bool:
        """Hold what a path or descriptor argument of *call* names; marks the call.

        Acts that are given its name as pinned act on that very thing.

        Returns:
            Whether it exists; else, and for an argument that is a name to make, to move or to
            remove, its directory is held.

        Raises:
            Refused, TargetGone, KernelError: As :meth:`unotify.Target.pin`.
        """
        self._exchange.memory_read = True
        if argument not in self._pins:
            self._pins[argument] = self._open().pin(_spot(call, argument))
        return not self._held(argument).name

    def pin_named(self, argument: str, key: str) -> bool:
        """Hold, as *key*, what the name that is pinned for *argument* stands for now.

        Returns:
            Whether there is anything of that name.
        """
        found = self._held(argument).named()
        if found is None:
            return False
        earlier = self._pins.pop(key, None)
        if earlier is not None:
            earlier.close()
        self._pins[key] = found
        return True

    def unpin(self, key: str) -> None:
        """Let go what is pinned as *key*: it is looked up anew when it is asked for again."""
        self._pins.pop(key).close()

    def look_at(self, key: str) -> bytes:
        """``struct statx`` of what is pinned as *key*, as :meth:`look` gives it."""
        return self._held(key).look()

    def look_at_fd(self, fd: int) -> bytes:
        """``struct statx`` of a descriptor of the supervisor's own, such as an act returned."""
        return self._looking().look_at_fd(fd)

    def handle_of(self, key: str) -> bytes:
        """A name of the inode pinned as *key* that no later inode has; empty if there is none.

        The kernel makes them for all file systems since Linux 6.5 (name_to_handle_at(2)).
        """
        return self._held(key).handle()

    def is_stacked(self, key: str) -> bool:
        """Whether what is pinned as *key* lies on an overlay.

        There a file keeps its number when it is copied up, but not its birth.
        """
        return self._held(key).is_stacked()

    def life(self) -> Life:
        """Its process: number, start, parent, and where its program begins.

        Raises:
            TargetGone: It does not wait any more.
        """
        return self._looking().life()

    def life_of(self, pid: int) -> Life | None:
        """Whose number *pid* is now, such as that of its parent; ``None``: nobody's."""
        return self._looking().life_of(pid)

    def children_of(self, pid: int) -> list[int]:
        """The children of process *pid* that live."""
        return self._looking().children_of(pid)

    def _looking(self) -> Looking:
        thread = self._open()
        if not _can_look(type(thread)):
            raise Unsupported("statx", "statx(2)", "this kernel has no files to look at")
        return cast(Looking, thread)

    def _held(self, key: str) -> Lookable:
        return cast(Lookable, self._pins[key])


@cache
def _is_path(call: str, argument: str) -> bool:
    return model.spec(call).arg(argument).role is Role.PATH


@cache
def _can_look(kind: type[Thread]) -> bool:
    return issubclass(kind, Looking)


def _spot(call: Call, argument: str) -> Spot:
    if _is_path(call.call_name, argument):
        return spot_of(call, argument)
    return Spot(b"", call.register(argument), empty=True)
