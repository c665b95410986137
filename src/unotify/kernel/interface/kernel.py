"""A kernel: where everything else here comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag
from unotify.abi.types import Tid
from unotify.kernel.interface.journals import Journaled
from unotify.kernel.interface.listening import Listener, Poller
from unotify.kernel.interface.programs import Spawned
from unotify.kernel.interface.serving import Server, Shortcut
from unotify.kernel.interface.threads import Thread

__all__ = ["Kernel"]


class Kernel(Protocol):
    """A kernel that supervises: the running one, or a simulated one."""

    @property
    def arch(self) -> Arch:
        """The architecture of the supervisor."""

    @property
    def architectures(self) -> tuple[Arch, ...]:
        """All ABIs whose calls a target here may issue, `arch` first."""

    def stalled(self) -> int:
        """How many threads are lost to reads that their targets stall (M4)."""

    def sleeps(self, tid: int) -> bool:
        """Whether our own thread *tid* waits for something, and not for a processor."""

    def features(self) -> frozenset[Feature]:
        """What this kernel has: probed once, in a throw-away child, then remembered."""

    def poller(self) -> Poller:
        """A new poller; whoever asks closes it."""

    def journaled(self, listener: Listener) -> Journaled | None:
        """The same with a new journal; *listener* itself is not to be used any more.

        Returns:
            ``None`` if it is of a kind that nobody can keep; it is as it was.

        Raises:
            KernelError: There is no room for a journal; *listener* is as it was.
        """

    def revive(self, fds: Sequence[int]) -> Journaled | None:
        """A listener of its descriptor and its journal's, in any order; they are taken over.

        Returns:
            ``None`` if they are something else; they stay the caller's.
        """

    def user_namespace(self, pid: int) -> str:
        """The user namespace of a process, as its link says; empty if it cannot be told."""

    def server(
        self,
        poller: Poller,
        bell: Poller,
        shortcuts: Sequence[Shortcut],
        *,
        counting: bool = False,
    ) -> Server | None:
        """Somebody who answers by *shortcuts* without Python, or ``None``: nobody can.

        Args:
            poller: It waits for what this waits for, and receives from what it is given besides.
            bell: Is woken when a notification comes after `Server.doze`.
            shortcuts: Tried in order.
            counting: Keep `Server.tallies`.
        """

    def rest(self) -> None:
        """Free what is kept for targets: for now there are none."""

    def memory_file(self, data: bytes, *, sealed: bool) -> Any:
        """A file in memory with *data*, to be closed by the caller; *sealed*: only to be read."""

    def open_thread(self, tid: Tid, still_valid: Callable[[], bool]) -> Thread:
        """Open a blocked target thread.

        *still_valid* tells whether its notification still waits; it is asked
        after opening and after each read (P8, M6).

        Raises:
            TargetGone: It is not there, or not visible from here (*tid* is 0).
        """

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
        """Start *args* under the filter *program* (encoded BPF); see `unotify.kernel.spawn`.

        *flags* are required, *preferred* ones are done without if need be. The
        process has the `Enforcement` as its attribute ``enforcement``.
        """
