"""The running Linux, as the rooms above see it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Final

from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag
from unotify.abi.types import NotificationId, Tid
from unotify.errors import KernelError, TargetGone
from unotify.kernel import native
from unotify.kernel._libc import NATIVE
from unotify.kernel.entries import numbers_alike
from unotify.kernel.home import Homes
from unotify.kernel.interface import Listener, Poller, Server, Shortcut, Spawned
from unotify.kernel.listener import LinuxListener
from unotify.kernel.poller import LinuxPoller
from unotify.kernel.probe import Probed, probe
from unotify.kernel.spawn import spawn
from unotify.kernel.stall import StallGuard
from unotify.kernel.thread import LinuxThread

if TYPE_CHECKING:
    from unotify.calls.acts import Act
    from unotify.calls.lookups import Spot
    from unotify.kernel.acting import Actor
    from unotify.kernel.acts import Outcome
    from unotify.kernel.journaled import JournaledListener
    from unotify.kernel.making import Made, Maker
    from unotify.kernel.pinning import Pin

__all__ = ["LinuxKernel"]

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

# Narrower ABIs that a kernel of this architecture may also offer. Whether it
# does cannot be tried without a program of that kind, but on x86.
_COMPAT: Final[dict[Arch, tuple[Arch, ...]]] = {
    Arch.AARCH64: (Arch.ARM,),
    Arch.RISCV64: (Arch.RISCV32,),
    Arch.PPC64: (Arch.PPC,),
    Arch.S390X: (Arch.S390,),
    Arch.MIPS64: (Arch.MIPS, Arch.MIPS64N32),
    Arch.MIPSEL64: (Arch.MIPSEL, Arch.MIPSEL64N32),
    Arch.MIPS64N32: (Arch.MIPS, Arch.MIPS64),
    Arch.MIPSEL64N32: (Arch.MIPSEL, Arch.MIPSEL64),
}


class LinuxKernel:
    """Implements :class:`unotify.kernel.interface.Kernel`.

    Args:
        read_deadline: Seconds after which a read of a target's memory counts as
            stalled (M4).

    Raises:
        Unsupported: ``UNOTIFY_BACKEND`` wants what is not there.
    """

    arch: Arch = NATIVE

    def __init__(self, *, read_deadline: float = 0.5) -> None:
        native.backend()  # or say at once that it is not there
        self._guard = StallGuard(read_deadline)
        self._homes = Homes()

    def stalled(self) -> int:
        """How many threads are lost to reads that targets stall (M4), and to acts that wait."""
        actor = self.__dict__.get("actor")
        return self._guard.stalled + (0 if actor is None else actor.interrupter.blocked)

    def sleeps(self, tid: int) -> bool:
        """Whether our own thread *tid* waits for something; not a processor, or that is unknown."""
        try:
            with open(f"/proc/self/task/{tid}/stat", "rb") as file:
                return file.read().rpartition(b") ")[2][:1] != b"R"
        except OSError:
            return False

    @cached_property
    def actor(self) -> Actor:
        """Who acts for targets; made when somebody wants it."""
        from unotify.kernel.acting import Actor

        return Actor()

    @cached_property
    def _is_lost(self) -> bool:
        return not numbers_alike()

    @cached_property
    def architectures(self) -> tuple[Arch, ...]:
        """All ABIs whose calls a target may issue, `arch` first.

        On x86 the two others are tried; elsewhere it is what the hardware could do, for
        a filter has to name an ABI to decide about it.
        """
        if self.arch in _X86:
            tried = self.probe().architectures
            return (self.arch, *(arch for arch in _X86 if arch in tried and arch != self.arch))
        return (self.arch, *_COMPAT.get(self.arch, ()))

    def probe(self) -> Probed:
        """All that is known about this kernel and our place in it; see `unotify.kernel.probe`."""
        return probe()

    def features(self) -> frozenset[Feature]:
        """What this kernel has: probed once, in a throw-away process, then remembered."""
        return self.probe().features

    def poller(self) -> LinuxPoller:
        """A new poller; close it when done."""
        return LinuxPoller()

    def journaled(self, listener: Listener) -> JournaledListener | None:
        """The same with a new journal, in memory of its own; see `interface.Kernel`."""
        from unotify.kernel.journaled import JournaledListener

        return JournaledListener.of(listener) if type(listener) is LinuxListener else None

    def revive(self, fds: Sequence[int]) -> JournaledListener | None:
        """A listener of its descriptor and its journal's, in any order."""
        from unotify.kernel.journaled import JournaledListener

        return JournaledListener.revive(fds)

    def user_namespace(self, pid: int) -> str:
        """The user namespace of a process, as its link says; empty if it cannot be told."""
        from unotify.kernel.surroundings import user_namespace_of

        try:
            return user_namespace_of(pid)
        except (TargetGone, KernelError):
            return ""

    def server(
        self,
        poller: Poller,
        bell: Poller,
        shortcuts: Sequence[Shortcut],
        *,
        counting: bool = False,
    ) -> Server | None:
        """Somebody who answers by *shortcuts* without Python, or ``None``: nobody can."""
        assert isinstance(bell, LinuxPoller)
        if self._is_lost or native.backend() != "native":
            return None
        try:
            return native.NativeServer(poller.fileno(), bell.bell, shortcuts, counting=counting)
        except KernelError:
            return None  # no /proc, or nothing that tells one mount from another

    def rest(self) -> None:
        """Free what is kept for targets: for now there are none."""
        self._homes.rest()
        actor = self.__dict__.get("actor")
        if actor is not None:
            actor.rest()

    def memory_file(self, data: bytes, *, sealed: bool) -> IO[bytes]:
        """A file in memory with *data*, at its start; *sealed*: nobody can ever write to it.

        Raises:
            KernelError: No descriptors or no memory are left.
        """
        try:
            fd = os.memfd_create("unotify", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            with open(fd, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                if sealed:
                    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
                # A description of its own: at the start, and with no more rights than asked for.
                mode = "rb" if sealed else "r+b"
                return open(f"/proc/thread-self/fd/{fd}", mode, buffering=0)
        except OSError as error:
            raise KernelError(error.errno or errno.EMFILE, "memfd_create(2)") from error

    def open_thread(self, tid: Tid, still_valid: Callable[[], bool]) -> LinuxThread:
        """Open a target thread.

        Raises:
            TargetGone: It is not there, or *tid* is 0.
            KernelError: ``/proc`` is that of another pid namespace.
        """
        if self._is_lost:
            raise KernelError(
                errno.ESRCH,
                "open(2)",
                "/proc is of another pid namespace, and has other threads by these numbers",
                hint="mount a procfs in the supervisor's own, as unshare --mount-proc does",
            )
        return LinuxThread(tid, still_valid, guard=self._guard, actor=self)

    def act(self, thread: LinuxThread, act: Act, pins: Mapping[str, Pin]) -> Outcome:
        """Do *act* for *thread*; see `unotify.kernel.acting.Actor.act`."""
        return self.actor.act(thread, act, pins)

    def pin(self, thread: LinuxThread, spot: Spot) -> Pin:
        """Hold what *spot* names for *thread*; see `unotify.kernel.acting.Actor.pin`."""
        return self.actor.pin(thread, spot)

    @cached_property
    def _maker(self) -> Maker:
        from unotify.kernel.making import Maker

        return Maker()

    def make(
        self, thread: LinuxThread, listener: int, id: NotificationId, act: Act, **conditions: Any
    ) -> Made | None:
        """Do *act* for *thread* in one go; see `unotify.kernel.making.Maker.make`."""
        with self.actor.interrupter.entry(thread.process, thread.is_waiting):
            return self._maker.make(listener, id, thread.home, act, **conditions)

    @property
    def homes(self) -> Homes:
        """The directories in ``/proc`` that are kept from call to call."""
        return self._homes

    def spawn(
        self,
        program: bytes,
        args: Any,
        *,
        flags: FilterFlag = FilterFlag(0),
        preferred: FilterFlag = FilterFlag.WAIT_KILLABLE_RECV,
        no_new_privs: bool = True,
        popen_options: Mapping[str, Any] | None = None,
    ) -> Spawned:
        """Start *args* under the filter *program*; see :func:`unotify.kernel.spawn.spawn`."""
        before = native.unprivileged()
        spawned = spawn(
            program,
            args,
            flags=flags,
            preferred=preferred,
            no_new_privs=no_new_privs,
            popen_options=popen_options,
        )
        spawned.unprivileged = before
        spawned.program = program
        return spawned


_X86: Final = (Arch.X86_64, Arch.I386, Arch.X32)
