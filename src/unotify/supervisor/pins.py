"""What paths of a target name, held so that it stays that very thing."""

from __future__ import annotations

from typing import cast

from unotify.calls.lookups import RESOLVE_IN_ROOT, Spot
from unotify.kernel.interface import Held, Pinned
from unotify.supervisor.opened import Opened

__all__ = ["Pins"]


class Pins(Opened):
    """What a :class:`unotify.Target` finds and holds, by the names of the call's arguments."""

    __slots__ = ()

    def resolve(
        self, path: bytes, *, dirfd: int = -100, follow: bool = True, in_root: bool = False
    ) -> str:
        """Tell what *path* names, as seen from its root, links and ``..`` followed; marks the call.

        The last component need not exist. It may have been renamed by the time of the answer.

        Args:
            path: As the target gave it; empty names *dirfd* itself.
            dirfd: Its descriptor that a relative path starts at; -100 for its directory.
            follow: Whether a link in the last component is followed.
            in_root: Take *dirfd* as the root of the walk (RESOLVE_IN_ROOT).

        Raises:
            Refused: The kernel would refuse the path too; propagates as its errno.
            TargetGone: It does not wait any more.
            KernelError: The supervisor has no ptrace rights over it.
        """
        resolve = RESOLVE_IN_ROOT if in_root else 0
        pinned = self._mark().pin(Spot(path, dirfd, follow, resolve=resolve, empty=True))
        try:
            return pinned.text
        finally:
            pinned.close()

    def pin(self, argument: str, spot: Spot) -> str:
        """Tell what a path argument of the call names, and hold it; marks the call.

        What is performed afterwards is done to that very thing, whatever its name means by then.

        Args:
            argument: Its name.
            spot: How it is looked up, as :func:`unotify.calls.lookups.spot_of` tells.

        Raises:
            Refused: The kernel would refuse the path too; propagates as its errno.
            TargetGone: It does not wait any more.
            KernelError: The supervisor has no ptrace rights over it.
        """
        return self._pinned(argument, spot).text

    def find(self, argument: str, spot: Spot) -> Held:
        """As `pin`, but return what holds it; closed when the call is over.

        Raises:
            Refused: As `pin`; EACCES too if only the supervisor could come there.
        """
        found = cast(Held, self._pinned(argument, spot))
        found.require_reached()
        return found

    def _pinned(self, argument: str, spot: Spot) -> Pinned:
        thread = self._mark()
        found = self._pins.get(argument)
        if found is None:
            found = self._pins[argument] = thread.pin(spot)
        return found

    def let_go(self, *arguments: str) -> None:
        """Hold what `find` or `pin` found for *arguments* no more, or all: it keeps mounts busy."""
        for argument in arguments or tuple(self._pins):
            found = self._pins.pop(argument, None)
            if found is not None:
                found.close()
