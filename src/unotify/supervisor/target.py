"""The thread behind a notification, for as long as it waits: who it is, and acting for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from unotify.abi.types import NotificationId
from unotify.calls import Call
from unotify.calls.acts import Act, Replacement
from unotify.calls.lookups import Spot
from unotify.errors import Refused, Unsupported
from unotify.kernel.interface import Done, Entering, Held, Pinned
from unotify.protocol import Reply
from unotify.supervisor.identity import Identity
from unotify.supervisor.looks import Looks
from unotify.supervisor.performing import perform
from unotify.supervisor.reaching import Reaching

if TYPE_CHECKING:
    from unotify.kernel.making import Made

__all__ = ["Target"]

_log = logging.getLogger("unotify")

_AT_EACCESS: Final = 0x200
_NONE: Final[Mapping[str, Pinned]] = MappingProxyType({})


class HasFd(Protocol):
    """What has a descriptor of something in a target's mounts."""

    @property
    def fd(self) -> int:
        """It."""


@dataclass(frozen=True, slots=True)
class _Itself:
    """Something held, by a descriptor of somebody else's."""

    fd: int
    name: bytes = b""

    def require_reached(self) -> None:
        """It was."""


class Target(Identity, Reaching, Looks):
    """The target thread that makes one call.

    Everything here is a snapshot, checked to be of the thread that waits: the
    thread is opened first and the notification checked after that (P8), and
    again after each read (M6). It dies with its notification: once that is
    answered or has vanished, each use raises :exc:`TargetGone`, since the same
    thread id may by then be somebody else.

    Reading memory marks the call: a plain :class:`unotify.Continue` is refused
    afterwards. Only the supervisor makes these.

    Attributes:
        tid: The thread's id here; 0 if it is not visible from here (P3).
        succeeded: Whether it took the answer, and that was no error; for `afterwards`.
    """

    __slots__ = ()

    def act(self, act: Act, *, pinned: Collection[str] = ()) -> Done:
        """Do *act* as the target would; for :meth:`unotify.calls.Call.perform`.

        Args:
            act: What.
            pinned: Arguments whose :meth:`pin` is used, if there is one.

        Raises:
            TargetGone: It does not wait any more.
            TargetError: It cannot be done; propagates as its errno.
        """
        pins = {name: pin for name, pin in self._pins.items() if name in pinned} or _NONE
        if act.name == "mkdirat" and not (pins or act.as_supervisor):
            made = self.make(act)
            if made is not None:
                os.close(made.directory)
                return made
        return self._open().act(act, pins)

    def perform(
        self, call: Call, *, as_supervisor: bool = False, replaced: Mapping[str, Replacement]
    ) -> Reply:
        """Do *call* in the target's place; see :meth:`unotify.calls.Call.perform`."""
        # All that is read until the act is used in the act alone: it is asked once, there,
        # whether the target still waits.
        thread = self._open()
        thread.defer()
        try:
            return perform(call, self, as_supervisor=as_supervisor, replaced=replaced)
        finally:
            thread.forget()

    def make(
        self,
        act: Act,
        *,
        needed: int = 0,
        lent: int = 0,
        refused: int = 0,
        contained: bool = False,
    ) -> Made | None:
        """Do *act*, which makes a name, in one go: a tenth of what it takes step by step.

        Only the native part can, and what is plain: a target in the supervisor's own user
        namespace, with its umask, and a path without symbolic links.

        Args:
            act: ``mknodat`` or ``mkdirat``.
            needed: Capabilities that the target has to have, as a bit set.
            lent: Those of the supervisor that are lent for this act.
            refused: ``ST_*`` flags (statvfs(3)) that the mount must not have.
            contained: The user namespace of its container has to be the supervisor's, too.

        Returns:
            ``None``: it is not plain, it cannot be found, or one of the conditions does not hold.
            Nothing has been done then, and `find` and `act` tell what is wrong.
        """
        thread = self._mark()
        make = getattr(thread, "make", None)  # a simulated one has none
        if make is None or (contained and self._container == "" and not self.around.is_ours()):
            return None
        made: Made | None = make(
            self._listener.fileno(),
            NotificationId(self._exchange.id),
            act,
            needed=needed,
            lent=lent,
            refused=refused,
            container=(contained and self._container) or None,
        )
        return made

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Ask once whether it still waits, for all that is looked at in here.

        That is asked when something is done for it (`act`), or else at the end; what is looked
        at after that, is asked for each time again. So nothing but an `act` may have an effect
        before one was made, unless `is_waiting` was asked for it, and nobody may be told.

        Raises:
            TargetGone: In `act`: it does not wait any more.
        """
        thread = self._open()
        thread.defer()
        try:
            yield
        finally:
            thread.forget()

    def may(self, place: Held, mode: int) -> bool:
        """Whether its rights are enough for *place*: faccessat2(2), of its effective ids.

        Args:
            place: What `find` returned; if it has a name left, its directory is meant.
            mode: ``os.R_OK``, ``os.W_OK``, ``os.X_OK``.
        """
        values = {"mode": mode, "flags": _AT_EACCESS}
        act = Act("faccessat2", "faccessat2", values, {"path": Spot(b"", empty=True)})
        return self._open().act(act, {"path": _Itself(place.fd)}).value == 0

    def bind(self, source: HasFd, place: HasFd) -> None:
        """Bind *source* to *place*, in its mount namespace and with the rights of its namespaces.

        For supervisors that may not mount themselves: it is done by a process in the target's
        user namespace.

        Args:
            source: What `find` returned, or whatever else has a descriptor.
            place: Likewise.

        Raises:
            TargetGone: It does not wait any more.
            Refused: As mount(2) says; EPERM: its user namespace is the supervisor's own.
        """
        namespace = self.open_namespace("mnt")
        try:
            held = {
                "source": _Itself(source.fd),
                "place": _Itself(place.fd),
                "namespace": _Itself(namespace),
            }
            done = self._open().act(Act("bind-mount", "mount"), held)
        finally:
            os.close(namespace)
        if done.value < 0:
            raise Refused("it cannot be bound", errno=-done.value)

    def overlay(
        self, layers: Sequence[tuple[str, int]], options: Sequence[str], attributes: int
    ) -> int:
        """Make an overlay with the rights that it has in its user namespace, which is not ours.

        Args:
            layers: Directories of its mount namespace, as descriptors, each with the option that it
                is set with: ``lowerdir+``, ``upperdir``, ``workdir`` (Linux 6.13).
            options: All else, ``name`` or ``name=value``.
            attributes: ``MOUNT_ATTR_*``.

        Returns:
            A descriptor of the mount, which nobody sees yet and is the caller's.

        Raises:
            TargetGone: It does not wait any more.
            Refused: As the kernel says it; EPERM: its user namespace is the supervisor's own.
        """
        namespace = self.open_namespace("mnt")
        try:
            held = {f"{at} {key}": _Itself(fd) for at, (key, fd) in enumerate(layers)}
            told = os.fsencode("\0".join(options))
            values: dict[str, int | bytes | None] = {"options": told, "attributes": attributes}
            act = Act("overlay-mount", "mount", values, returns_fd=True)
            done = self._open().act(act, {**held, "namespace": _Itself(namespace)})
        finally:
            os.close(namespace)
        if done.value < 0:
            raise Refused("the overlay cannot be made", errno=-done.value)
        return done.fd

    def open_namespace(self, kind: str) -> int:
        """Open its namespace of *kind*, such as ``mnt``; whoever asks closes the descriptor.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: The supervisor has no ptrace rights over it.
            Unsupported: The kernel is a simulated one.
        """
        thread = self._open()
        if not isinstance(thread, Entering):
            raise Unsupported("namespaces", "setns(2)", "this kernel has none to enter")
        return thread.open_namespace(kind)

    def kill(self) -> None:
        """Kill its process.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: EPERM: it is another user's.
        """
        self._open().kill()

    def afterwards(self, callback: Callable[[bool], object]) -> None:
        """Call *callback* when the call is over, with whether the target took a success.

        If it did not (it was killed meanwhile, a deadline was over, or the answer is an error
        after all), what was done for it can be undone (I10). What `find` returned is still held
        then. The last that was registered is called first; what it raises is logged.
        """
        self._later.append(callback)

    def step_back(self) -> None:
        """Free what it holds before it goes on, which may count on that: to unmount, say.

        Not if somebody wants to be told `afterwards`, who may need it.
        """
        if not self._later:
            self.close()

    def close(self) -> None:
        """Free what it holds; the supervisor does this when the call is over."""
        later, self._later = self._later, []
        for callback in reversed(later):
            try:
                callback(self.succeeded)
            except Exception:
                _log.exception("what was to be done after a call of thread %d failed", self.tid)
        pins, self._pins = self._pins, {}
        for pinned in pins.values():
            pinned.close()
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def __repr__(self) -> str:
        return f"<Target tid={self.tid}>"
