"""What surrounds a target: its container, the namespaces and control groups that it is in.

Theory of operation. A capability means something in one user namespace only, and whoever makes a
new one has all of them in there. So what a program may do in its container is what it may do in
the user namespace that the container *began* in, which is told when its listener comes to us.
Where nobody told, it is the owner of the outermost pid namespace below ours that the target is in,
if somebody of our own user made it: a process cannot change either of the two for itself, but in
our own pid namespace it could make both. Who is in there is in our own user namespace, or has none
that counts.

Process ids that a target gives are numbers of its pid namespace. Since Linux 6.11 the kernel
translates them; before, ``NSpid`` in ``/proc`` tells, which all processes are looked at for.

All that is opened or read here is checked afterwards to be of the thread that waits (P8).
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from unotify.abi.capabilities import Capability
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number
from unotify.kernel.entries import entry, link, status_fields

if TYPE_CHECKING:
    from unotify.kernel.thread import LinuxThread

__all__ = ["Surroundings", "search", "user_namespace_of"]

T = TypeVar("T")

# Some architectures have other bits for the direction of a request.
_ODD: Final = os.uname().machine.startswith(("alpha", "mips", "ppc", "sparc"))
_NONE: Final = 0x20000000 if _ODD else 0
_READ_INT: Final = 0x40040000 if _ODD else 0x80040000
_NS_GET_USERNS: Final = _NONE | 0xB701
_NS_GET_PARENT: Final = _NONE | 0xB702
_NS_GET_OWNER_UID: Final = _NONE | 0xB704
_NS_GET_PID_FROM_PIDNS: Final = _READ_INT | 0xB706
_UNKNOWN: Final = (errno.ENOTTY, errno.EINVAL)


def user_namespace_of(pid: int) -> str:
    """The user namespace that process *pid* is in now, for `Surroundings`.

    Raises:
        TargetGone: There is no such process.
        KernelError: We may not look at it.
    """
    return link(pid, "ns/user")


class Surroundings:
    """What surrounds one target thread.

    Args:
        thread: Which.
        container: The user namespace that its container began in, as its link in ``/proc`` says;
            empty if nobody told, ``None`` for the supervisor's own.
    """

    __slots__ = ("_container", "_thread")

    def __init__(self, thread: LinuxThread, container: str | None = "") -> None:
        self._thread = thread
        self._container = os.readlink("/proc/self/ns/user") if container is None else container

    # -- rights --------------------------------------------------------------

    def may(self, capability: Capability) -> bool:
        """Whether it has *capability* in its container: what ns_capable() would say there.

        A capability in a user namespace that was made inside of the container does not count.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: We may not look at its namespaces.
        """
        if not self._thread.rights().effective >> capability & 1:
            return False
        return self._thread.user_namespace() == self.container()

    def could_have(self, capability: Capability) -> bool:
        """Whether it, or what it starts, can come to have *capability* in our own user namespace.

        Whoever is in there can by running a set-user-ID program, up to its bounding set; and so can
        others in its container, whom it may pass things on to.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: We may not look at its namespaces.
        """
        if not self.shares("user"):
            return False
        bounding = self._checked(status_fields(self._thread.tid))[b"CapBnd"]
        return bool(int(bounding, 16) >> capability & 1)

    def may_mount(self) -> bool:
        """Whether the kernel lets it change the mounts of its mount namespace.

        That takes CAP_SYS_ADMIN in the user namespace that the mount namespace belongs to: the
        container's, or one that was made inside of it.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: We may not look at its namespaces.
        """
        if not self._thread.rights().effective >> Capability.CAP_SYS_ADMIN & 1:
            return False
        return self.owns_mounts()

    def owns_mounts(self) -> bool:
        """Whether its mount namespace belongs to its user namespace, or to one inside of that.

        A process may have a user namespace of its own and be in a mount namespace of somebody
        else, even the host's: then it may mount nothing there, whatever it has in its own.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: We may not look at its namespaces.
        """
        theirs = self._namespace("user")
        owner = self._namespace("mnt")
        try:
            wanted = os.fstat(theirs)
            related = _NS_GET_USERNS
            while True:
                above = _related(owner, related)
                os.close(owner)
                owner, related = above, _NS_GET_PARENT
                if os.path.samestat(os.fstat(owner), wanted):
                    return True
                if os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user")):
                    return False
        finally:
            os.close(theirs)
            os.close(owner)

    def require(self, capability: Capability) -> None:
        """Raise `Refused`, EPERM, unless it has *capability* in its container; see `may`."""
        if not self.may(capability):
            raise Refused(f"it has no {capability.name} in its container", errno=errno.EPERM)

    def container(self) -> str:
        """The user namespace of its container; empty if there is none that we could believe in."""
        if self._container:
            return self._container
        ours = os.stat("/proc/self/ns/pid")
        outermost = -1
        current = self._namespace("pid")
        try:
            while not os.path.samestat(os.fstat(current), ours):
                if outermost >= 0:
                    os.close(outermost)
                outermost, current = current, -1
                current = _related(outermost, _NS_GET_PARENT)
            if outermost < 0:
                return os.readlink("/proc/self/ns/user")
            owner = _related(outermost, _NS_GET_USERNS)
            try:
                found = os.readlink(f"/proc/self/fd/{owner}")
                if found == os.readlink("/proc/self/ns/user"):
                    return found
                made_by = fcntl.ioctl(owner, _NS_GET_OWNER_UID, bytes(4))
                return found if int.from_bytes(made_by, sys.byteorder) == os.geteuid() else ""
            finally:
                os.close(owner)
        finally:
            for fd in {current, outermost} - {-1}:
                os.close(fd)

    def is_ours(self) -> bool:
        """Whether the user namespace of its container is the supervisor's own."""
        return self.container() == os.readlink("/proc/self/ns/user")

    def id_map(self, kind: str) -> bytes:
        """The ``uid`` or ``gid`` map of its user namespace, with numbers of ours (proc(5))."""
        return self._thread.id_map(kind)

    # -- namespaces ----------------------------------------------------------

    def shares(self, kind: str) -> bool:
        """Whether its namespace *kind* (``pid``, ``net``, ``uts`` ...) is the supervisor's own."""
        ours = os.readlink(f"/proc/self/ns/{kind}")
        if kind == "user":  # which it cannot change while it waits
            return self._thread.user_namespace() == ours
        return self._checked(link(self._thread.tid, f"ns/{kind}")) == ours

    def within(self, kind: str, work: Callable[[], T]) -> T:
        """Return ``work()``, done in its namespace *kind*: ``uts``, ``net``, ``ipc`` or ``cgroup``.

        In a thread that ends afterwards, with the supervisor's own rights.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: EPERM: we may not enter it.
        """
        found: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                check(syscall(number("setns"), namespace, _CLONE[kind]), "setns(2)")
                found.append(work())
            except BaseException as error:
                failed.append(error)

        namespace = self._namespace(kind)
        try:
            thread = threading.Thread(target=run, name="unotify-within")
            thread.start()
            thread.join()
        finally:
            os.close(namespace)
        if failed:
            raise failed[0]
        return found[0]

    def thread_of(self, pid: int) -> int:
        """The thread that it calls *pid*, by its number here; 0 is itself.

        Raises:
            Refused: ESRCH: there is none that it can see.
            TargetGone: It does not wait any more.
        """
        if pid == 0:
            return int(self._thread.tid)
        if pid < 0:
            raise Refused(f"no process {pid}", errno=errno.ESRCH)
        if self.shares("pid"):
            if not os.path.exists(f"/proc/{pid}"):
                raise Refused(f"no process {pid}", errno=errno.ESRCH)
            return pid
        namespace = self._namespace("pid")
        try:
            try:
                return fcntl.ioctl(namespace, _NS_GET_PID_FROM_PIDNS, pid)
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise Refused(f"no process {pid}", errno=errno.ESRCH) from None
            return search(namespace, pid)
        finally:
            os.close(namespace)

    def init(self) -> int:
        """The first process of its pid namespace, by its number here."""
        return self.thread_of(1)

    def _namespace(self, kind: str) -> int:
        return self._thread.open_namespace(kind)

    # -- control groups ------------------------------------------------------

    def cgroups(self) -> dict[str, str]:
        """Its path in each hierarchy of control groups, by controller; the unified one is ``""``.

        As seen from the supervisor's own cgroup namespace.
        """
        return self._checked(_parsed(entry(self._thread.tid, "cgroup")))

    def cgroup_root(self) -> str:
        """The root of its cgroup namespace in the unified hierarchy, as seen from here.

        Raises:
            TargetGone: It does not wait any more.
            Refused: EPERM: it is not in there itself.
            KernelError: We may not enter the namespace.
        """
        tid = self._thread.tid
        if self.shares("cgroup"):
            return "/"
        outside = self.cgroups().get("", "/")
        inside = self.within("cgroup", lambda: _parsed(entry(tid, "cgroup")).get("", "/"))
        self._checked(None)
        if inside == "/":
            return outside
        if inside.startswith("/..") or not outside.endswith(inside):
            raise Refused("it is outside of its own cgroup namespace", errno=errno.EPERM)
        return outside[: -len(inside)] or "/"

    # -- descriptors and mounts ----------------------------------------------

    def has_mount(self, fd: int) -> bool:
        """Whether what our descriptor *fd* is open on lies on a mount of its mount namespace."""
        info = Path(f"/proc/thread-self/fdinfo/{fd}").read_bytes()
        mount = next(line.split()[1] for line in info.splitlines() if line.startswith(b"mnt_id:"))
        table = self._checked(entry(self._thread.tid, "mountinfo"))
        return any(line.split(b" ", 1)[0] == mount for line in table.splitlines())

    def watches(self, fd: int) -> bool:
        """Whether one of its epoll instances has its descriptor *fd* registered."""
        tid = self._thread.tid
        wanted = b"tfd: %8d" % fd
        found = False
        with suppress(FileNotFoundError):
            for name in os.listdir(f"/proc/{tid}/fd"):
                try:
                    if os.readlink(f"/proc/{tid}/fd/{name}") != "anon_inode:[eventpoll]":
                        continue
                    info = Path(f"/proc/{tid}/fdinfo/{name}").read_bytes()
                except FileNotFoundError:
                    continue
                if any(line.startswith(wanted) for line in info.splitlines()):
                    found = True
                    break
        return self._checked(found)

    def _checked(self, value: T) -> T:
        if not self._thread.is_waiting():
            raise TargetGone(f"thread {self._thread.tid} does not wait for this call any more")
        return value


_CLONE: Final = {
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "net": 0x40000000,
}


def search(namespace: int, pid: int) -> int:
    """Find the process that is *pid* in the pid namespace *namespace*, in all of ``/proc``.

    Raises:
        Refused: ESRCH: there is none.
    """
    wanted = os.readlink(f"/proc/self/fd/{namespace}")
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{name}/ns/pid") != wanted:
                continue
            status = Path(f"/proc/{name}/status").read_bytes()
        except OSError:
            continue
        line = next((e for e in status.split(b"\n") if e.startswith(b"NSpid:")), b"NSpid: 0")
        if int(line.split()[-1]) == pid:
            return int(name)
    raise Refused(f"no process {pid}", errno=errno.ESRCH)


def _related(namespace: int, which: int) -> int:
    try:
        return fcntl.ioctl(namespace, which)
    except OSError as error:
        raise KernelError(
            error.errno or errno.EPERM,
            "ioctl_ns(2)",
            f"no look at the namespaces of the target: {error.strerror}",
            hint="a supervisor outside of the container has to say which user namespace is the "
            "container's",
        ) from error


def _parsed(text: bytes) -> dict[str, str]:
    found = {}
    for line in text.split(b"\n"):
        parts = os.fsdecode(line).split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                found[controller] = parts[2]
    return found
