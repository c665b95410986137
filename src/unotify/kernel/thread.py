"""A blocked target thread: who it is, and how to reach into it.

Theory of operation. All we are told is a number, and numbers are reused. So
whatever is opened by that number, a pidfd, /proc/TID, memory, is opened first;
then the notification is asked whether it still waits (P8). If it does, its thread
was blocked when we opened, so what we opened is its own, and stays so: a pidfd never
changes its task, and a new task of that number needs the old one to be dead.

The number is a *thread* id (P1). A pidfd of the process would read the wrong
descriptor table where a thread has its own (P7), so a pidfd of the thread is
taken where the kernel has such (PIDFD_THREAD, Linux 6.9).

Most handlers read a path and nothing else; so each thing is opened when it is asked for.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

from unotify.abi.types import Tid
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel._libc import (
    SYS_PIDFD_GETFD,
    SYS_PIDFD_OPEN,
    SYS_PIDFD_SEND_SIGNAL,
    check,
    syscall,
)
from unotify.kernel.entries import entry, link, listed, process_of, status_fields, unseen
from unotify.kernel.home import Home, Homes
from unotify.kernel.lives import Life, children_of, life_of
from unotify.kernel.memory import LinuxMemory
from unotify.kernel.pinning import Pin, Place, pin, seen_from
from unotify.kernel.rights import Rights
from unotify.kernel.stall import StallGuard

if TYPE_CHECKING:
    from unotify.calls.acts import Act
    from unotify.kernel.acts import Outcome
    from unotify.kernel.surroundings import Surroundings

__all__ = ["PIDFD_THREAD", "LinuxThread", "open_pidfd"]

T = TypeVar("T")

PIDFD_THREAD: Final = os.O_EXCL
"""pidfd_open(2) of any thread, since Linux 6.9 (P6)."""


def open_pidfd(tid: Tid) -> int:
    """Open a pidfd of thread *tid*; of its process where the kernel has no thread pidfds.

    Raises:
        TargetGone: There is no such thread.
        KernelError: EMFILE and the like.
    """
    fd = syscall(SYS_PIDFD_OPEN, tid, PIDFD_THREAD)
    if fd == -errno.EINVAL:
        # Before 6.9: only thread group leaders have one (P6).
        fd = syscall(SYS_PIDFD_OPEN, process_of(tid), 0)
    if fd == -errno.ESRCH:
        raise TargetGone(f"thread {tid} has ended")
    return check(fd, "pidfd_open(2)")


class Acting(Protocol):
    """Who acts for a thread."""

    def act(self, thread: LinuxThread, act: Act, pins: Mapping[str, Pin]) -> Outcome:
        """Do *act* as *thread* would."""

    def pin(self, thread: LinuxThread, spot: Spot) -> Pin:
        """Hold what *spot* names for *thread*."""

    @property
    def homes(self) -> Homes:
        """Directories in ``/proc`` that are kept."""


class LinuxThread:
    """One target thread that waits for an answer; a context manager.

    Args:
        tid: From the notification.
        still_valid: Tells whether the notification still waits.
        guard: Bounds what stalled reads of its memory cost (M4).
        actor: Does what is asked of `act`.

    Raises:
        TargetGone: *tid* is 0: the target is in a pid namespace that cannot be seen
            from here (P3). Answering it works, reaching into it does not.
    """

    __slots__ = (
        "_actor",
        "_home",
        "_owes",
        "_pidfd",
        "_place",
        "_status",
        "_tgid",
        "_waits",
        "memory",
        "tid",
    )

    def __init__(
        self,
        tid: Tid,
        still_valid: Callable[[], bool],
        *,
        guard: StallGuard | None = None,
        actor: Acting | None = None,
    ) -> None:
        self._pidfd = -1
        self._home: Home | None = None
        self._owes: bool | None = None
        self._place: Place | None = None
        self._actor = actor
        if tid <= 0:
            raise TargetGone("the target is not visible from this pid namespace (its id is 0)")
        self.tid = tid
        self._tgid = 0
        self._status = b""
        self._waits = still_valid
        self.memory = LinuxMemory(tid, self._still_valid, guard=guard, tgid=self.process)

    def _still_valid(self) -> bool:
        if self._owes is None:
            return self._waits()
        self._owes = True
        return True

    def defer(self) -> None:
        """Ask only once, at `settle`, whether it still waits, and not after each look (P8, M6).

        For who looks at several things, and uses none of them before.
        """
        if self._owes is None:
            self._owes = False

    def settle(self) -> None:
        """Ask now for all that was looked at since `defer`.

        Raises:
            TargetGone: It does not wait any more.
        """
        if not self._paid():
            raise self._gone()

    def forget(self) -> None:
        """Ask at once again from now on; what was looked at since `defer` was not used."""
        self._paid()

    def _paid(self) -> bool:
        owes, self._owes = self._owes, None
        if not owes or self._waits():
            return True
        self.close()  # what was looked at may be somebody else's
        return False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._pidfd == -2

    @property
    def tgid(self) -> int:
        """The process it belongs to, as seen from here."""
        self._require_open()
        if not self._tgid:
            self._tgid = self._checked(process_of(self.tid))
        return self._tgid

    def comm(self) -> str:
        """Its name, up to 15 characters that it may choose freely."""
        self._require_open()
        return self._checked(entry(self.tid, "comm").decode("utf-8", "backslashreplace")[:-1])

    def ids(self) -> tuple[int, int]:
        """Its effective user and group id, as our user namespace numbers them."""
        self._require_open()
        status = status_fields(self.tid)
        return self._checked((int(status[b"Uid"].split()[1]), int(status[b"Gid"].split()[1])))

    def started(self) -> int:
        """When its process started, in clock ticks: with `tgid`, a name that is not reused."""
        # The name, in parentheses, may have spaces and more of them.
        after = entry(self.tgid, "stat").rpartition(b")")[2].split()
        return self._checked(int(after[19]))

    def exe(self) -> str:
        """The path of the program that it runs, as seen from here."""
        self._require_open()
        return self._checked(link(self.tid, "exe"))

    def cgroup(self) -> str:
        """Its path in the unified hierarchy of cgroups; empty without one."""
        self._require_open()
        lines = entry(self.tid, "cgroup").split(b"\n")  # a name may have a \r
        found = next((line[3:] for line in lines if line.startswith(b"0::")), b"")
        return self._checked(os.fsdecode(found))

    def fd_kind(self, fd: int) -> str:
        """One of file, directory, socket, pipe, char, block, anon (no type), none (not open)."""
        held = self._held(fd)
        if held < 0:
            return self._checked("none")
        # What is opened is an inode without a type, or with one that tells nothing.
        if _path(held).startswith(("anon_inode:", "pidfd:")):
            return self._checked("anon")
        return self._checked(_KINDS.get(stat.S_IFMT(os.fstat(held).st_mode), "anon"))

    def fd_path(self, fd: int) -> str:
        """What its descriptor *fd* is open on, as ``/proc/PID/fd`` says; empty if it is not."""
        held = self._held(fd)
        return self._checked(_path(held) if held >= 0 else "")

    def _held(self, fd: int) -> int:
        """What its descriptor *fd* is now, for as long as this is open; -1 if it is not open.

        Another thread may put something else there: what is told about it, and what is acted
        on, are one thing.
        """
        try:
            return self.place.start(fd)
        except Refused:
            return -1

    def pin(self, spot: Spot) -> Pin:
        """Find out what *spot* names, and hold it; see :func:`unotify.kernel.pinning.pin`.

        The walk is made with the target's rights, if somebody acts for it. The caller closes
        the result.

        Raises:
            TargetGone: It does not wait any more.
            Refused: The kernel would refuse the path too; has its errno.
            KernelError: We have no ptrace rights over it.
        """
        found = pin(self.place, spot) if self._actor is None else self._actor.pin(self, spot)
        if not self._waits():
            found.close()
            raise self._gone()
        return found

    def look(self, spot: Spot, *, flags: int = 0, mask: int = 0) -> bytes:
        """``struct statx`` of what *spot* names; see :func:`unotify.kernel.looking.look`.

        Nobody has asked yet whether it still waits: that is for `settle`.
        """
        from unotify.kernel.looking import look  # whoever only reads does not wait for it

        self._require_open()
        actor = self._actor
        if actor is None:
            return look(self, spot, lambda spot: pin(self.place, spot), flags=flags, mask=mask)
        return look(self, spot, lambda spot: actor.pin(self, spot), flags=flags, mask=mask)

    def look_at_fd(self, fd: int) -> bytes:
        """``struct statx`` of a descriptor of our own."""
        from unotify.kernel.looking import look_at_fd

        return look_at_fd(fd)

    def life(self) -> Life:
        """Its process, and whose child that is."""
        found = life_of(self.tgid)
        if found is None:
            raise self._gone()
        return self._checked(found)

    def life_of(self, pid: int) -> Life | None:
        """Another process, such as its parent: whose number *pid* is now."""
        return life_of(pid)

    def children_of(self, pid: int) -> list[int]:
        """The children of process *pid* that live."""
        return children_of(pid)

    def act(self, act: Act, pins: Mapping[str, Pin]) -> Outcome:
        """Do *act* as this thread would; see `unotify.kernel.acting.Actor.act`."""
        self._require_open()
        if self._actor is None:
            raise TargetGone("nobody acts for this thread")
        return self._actor.act(self, act, pins)

    def is_waiting(self) -> bool:
        """Whether its notification still waits."""
        return self._waits()

    @property
    def place(self) -> Place:
        """Its root, its directory and its descriptors."""
        self._require_open()
        if self._place is None:
            self._place = Place(
                self.tid, lambda: self.tgid, self._still_valid, home=self.home.directory
            )
        return self._place

    @property
    def home(self) -> Home:
        """Its directory in ``/proc``."""
        if self._home is None:
            self._require_open()
            actor = self._actor
            home = Home.of(self.tid) if actor is None else actor.homes.take(self.tid)
            if not self._still_valid():
                self._leave(home)
                raise self._gone()
            self._home = home
        return self._home

    def _leave(self, home: Home) -> None:
        if self._actor is None:
            home.close()
        else:
            self._actor.homes.give(home)

    def status(self) -> bytes:
        """What ``/proc/TID/status`` tells; read once, for as long as it waits that holds."""
        if not self._status:
            try:
                self._status = self._checked(self.home.status())
            except (FileNotFoundError, ProcessLookupError):
                raise TargetGone(f"thread {self.tid} has ended") from None
            except OSError as error:
                if isinstance(error, KernelError):
                    raise
                raise unseen(error, self.tid, "status") from error
            if b"\nUmask:" not in self._status:
                self._status = b""
                raise self._gone()  # whoever exits has lost it already
        return self._status

    def rights(self) -> Rights:
        """Its credentials and umask."""
        return Rights.parse(self.status())

    def argv(self) -> tuple[bytes, ...]:
        """The arguments of its program, which it may rewrite."""
        self._require_open()
        return self._checked(tuple(entry(self.tid, "cmdline").split(b"\0")[:-1]))

    def namespaces(self) -> dict[str, int]:
        """The inode numbers of its namespaces, by their kind: ``user``, ``mnt``, ``pid`` ..."""
        self._require_open()
        kinds = [kind for kind in listed(f"/proc/{self.tid}/ns") if "_" not in kind]
        links = {kind: link(self.tid, f"ns/{kind}") for kind in kinds}
        return self._checked({kind: int(link[len(kind) + 2 : -1]) for kind, link in links.items()})

    def directory(self, name: str) -> str:
        """Its ``cwd`` as seen from its root, or its ``root`` as seen from ours."""
        if name == "root":
            self._require_open()
            return self._checked(link(self.tid, "root"))
        place = self.place
        return self._checked(os.fsdecode(seen_from(place.root, place.start(AT_FDCWD))))

    def user_namespace(self) -> str:
        """What ``/proc/PID/ns/user`` links to; as long as it waits it enters no other."""
        return self.home.user_namespace

    def is_alike(self) -> bool:
        """Whether it is in our control group, and our network and IPC namespaces."""
        self._require_open()
        # Asked while its own rights are taken on; who may not look at itself gets no benefit.
        try:
            return self._checked(self._is_alike())
        except KernelError:
            return False

    def _is_alike(self) -> bool:
        tables = [entry(tid, "cgroup") for tid in (self.tid, os.getpid())]
        spaces = [
            [link(t, f"ns/{kind}") for kind in _KINDS_OF_OPENER] for t in (self.tid, os.getpid())
        ]
        return tables[0] == tables[1] and spaces[0] == spaces[1]

    def file_limit(self) -> int:
        """How large it may make a file; -1 for no limit."""
        self._require_open()
        # In /proc/PID/limits all may read it; prlimit(2) wants more rights than the target has.
        lines = entry(self.tid, "limits").splitlines()
        word = next(line.split()[3] for line in lines if line.startswith(b"Max file size"))
        return self._checked(int(word) if word.isdigit() else -1)

    def open_user_namespace(self) -> int:
        """A descriptor of its user namespace, which is the caller's."""
        return self.open_namespace("user")

    def open_namespace(self, kind: str) -> int:
        """A descriptor of its namespace *kind*, which is the caller's."""
        return self._opened(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)

    def around(self, container: str | None = "") -> Surroundings:
        """Its container, namespaces and control groups; see there for *container*."""
        from unotify.kernel.surroundings import Surroundings

        self._require_open()
        return Surroundings(self, container)

    def id_map(self, kind: str) -> bytes:
        """The ``uid`` or ``gid`` map of its user namespace; empty until that was written."""
        self._require_open()
        return self._checked(entry(self.tid, f"{kind}_map"))

    def fd_flags(self, fd: int) -> int:
        """The flags of its descriptor *fd*, O_CLOEXEC among them; -1 if it has none."""
        self._require_open()
        try:
            info = entry(self.tid, f"fdinfo/{fd}")
        except TargetGone:
            return self._checked(-1)
        line = next(line for line in info.splitlines() if line.startswith(b"flags:"))
        return self._checked(int(line.split()[1], 8))

    def _opened(self, name: str, flags: int) -> int:
        self._require_open()
        try:
            fd = os.open(f"/proc/{self.tid}/{name}", flags)
        except (FileNotFoundError, ProcessLookupError):
            raise TargetGone(f"thread {self.tid} has ended") from None
        except OSError as error:
            raise unseen(error, self.tid, name) from error
        if not self._still_valid():
            os.close(fd)
            raise self._gone()
        return fd

    def kill(self) -> None:
        """Send SIGKILL to its process, and to no other.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: EPERM: it is another user's.
        """
        result = syscall(SYS_PIDFD_SEND_SIGNAL, self.fileno(), signal.SIGKILL, 0, 0)
        if result == -errno.ESRCH:
            raise self._gone()
        check(result, "pidfd_send_signal(2)")

    def fileno(self) -> int:
        """A pidfd of it; of its process before Linux 6.9. It is closed by `close`."""
        self._require_open()
        if self._pidfd < 0:
            pidfd = open_pidfd(self.tid)
            if not self._still_valid():
                os.close(pidfd)
                raise self._gone()
            self._pidfd = pidfd
        return self._pidfd

    def steal_fd(self, fd: int) -> int:
        """Duplicate its descriptor *fd*; the result is close-on-exec and the caller's.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: EBADF if it has no such descriptor; EPERM without ptrace
                rights over it (M3); ENOSYS before Linux 5.6.
        """
        result = syscall(SYS_PIDFD_GETFD, self.fileno(), fd, 0)
        if result == -errno.ESRCH:
            raise self._gone()
        stolen = check(result, "pidfd_getfd(2)")
        if not self._still_valid():
            os.close(stolen)
            raise self._gone()
        held = self.place.held(fd)
        if held is not None and not os.path.samestat(os.fstat(held), os.fstat(stolen)):
            os.close(stolen)
            raise KernelError(
                errno.EBADF, "pidfd_getfd(2)", f"descriptor {fd} is another than was looked at"
            )
        return stolen

    def close(self) -> None:
        """Free it; later use raises :exc:`TargetGone`."""
        pidfd, self._pidfd = self._pidfd, -2
        if pidfd >= 0:
            os.close(pidfd)
        self._status = b""
        home, self._home = self._home, None
        if home is not None:
            self._leave(home)
        if self._place is not None:
            self._place.close()
            self._place = None
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._pidfd >= 0:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<LinuxThread {getattr(self, 'tid', 0)}>"

    def process(self) -> int:
        """Its process, or 0 if it has gone: for those who count what it costs."""
        # Of a read that is stalled the notification may be over.
        if not self._tgid:
            try:
                self._tgid = process_of(self.tid)
            except TargetGone:
                return 0
        return self._tgid

    def _require_open(self) -> None:
        if self.closed:
            raise self._gone()

    def _checked(self, value: T) -> T:
        if not self._still_valid():
            raise self._gone()
        return value

    def _gone(self) -> TargetGone:
        return TargetGone(f"thread {self.tid} does not wait for this call any more")


_KINDS_OF_OPENER: Final = ("net", "ipc")

_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


def _path(fd: int) -> str:
    return os.readlink(f"/proc/thread-self/fd/{fd}")
