"""Mounts that are in no namespace yet, and what makes, changes and attaches them.

Theory of operation. A mount is made in three steps that need no path of the target: a file system
context takes a type and its options, becomes a mount that nobody sees, and gets its attributes.
All of it is done with the supervisor's rights, in its own namespaces. Only then it is attached to a
directory or file that the target's path was found to name, which is held by a descriptor.

To attach, and to unmount, a thread has to be in the mount namespace that the place is of. It
enters for that one act and ends: there is no way back that could fail. In there absolute paths are
the target's, so nothing is opened by path, and nothing is imported.

The calls are those of Linux 5.2, mount_setattr(2) is of 5.12.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import MappingProxyType, TracebackType
from typing import Final, Self, TypeVar

from unotify.errors import KernelError
from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number

__all__ = [
    "Context",
    "Mount",
    "attach",
    "bind",
    "change",
    "clone",
    "device_path",
    "inside",
    "needs_device",
    "open_context",
    "unmount",
]

T = TypeVar("T")

_CLOEXEC: Final = 0x1  # FSOPEN_CLOEXEC, FSPICK_CLOEXEC and FSMOUNT_CLOEXEC
_CLONE_FS: Final = 0x200
_CLONE_NEWNS: Final = 0x20000
_CLONE: Final = {"cgroup": 0x02000000, "ipc": 0x08000000, "net": 0x40000000}
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 0x1
_BOTH_ARE_DESCRIPTORS: Final = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
_MNT_DETACH: Final = 0x2
_UMOUNT_NOFOLLOW: Final = 0x8
_ATIME: Final = 0x70
_MOUNT_ATTR_IDMAP: Final = 0x100000

_SET_FLAG, _SET_STRING, _SET_BINARY, _SET_PATH, _SET_PATH_EMPTY, _SET_FD, _CREATE = range(7)


class _Owned:
    """A descriptor, and who closes it."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """The descriptor."""
        return self.fd

    def close(self) -> None:
        """Close it; what was attached stays."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Mount(_Owned):
    """A mount, by a descriptor of its root (fsmount(2), open_tree(2)).

    It is gone with the descriptor unless it was attached.
    """

    __slots__ = ()

    def change(
        self,
        *,
        set: int = 0,
        clear: int = 0,
        propagation: int = 0,
        recursive: bool = False,
        user_namespace: int = -1,
    ) -> None:
        """Change its attributes: mount_setattr(2).

        Args:
            set: ``MOUNT_ATTR_*`` to set.
            clear: Those to take away.
            propagation: ``MS_PRIVATE`` or the like; 0 leaves it.
            recursive: The mounts below it too.
            user_namespace: A descriptor of a user namespace, whose ids files get to have
                (MOUNT_ATTR_IDMAP); -1: as they are.

        Raises:
            KernelError: With its errno: EINVAL where the file system knows no idmapped mounts.
        """
        userns = 0
        if set & _ATIME:
            clear |= _ATIME  # one of several, which have no bits of their own
        if user_namespace >= 0:
            set |= _MOUNT_ATTR_IDMAP
            userns = user_namespace
        attr = struct.pack("=4Q", set, clear, propagation, userns)
        flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
        done = syscall(number("mount_setattr"), self.fd, b"", flags, attr, len(attr))
        check(done, "mount_setattr(2)")


class Context(_Owned):
    """A file system that is about to be: a descriptor of fsopen(2)."""

    __slots__ = ()

    def set(self, key: str, value: str | bytes | None = None) -> None:
        """Set an option: a flag, or one with a value.

        Raises:
            KernelError: EINVAL: there is no such option, or it does not take that.
        """
        command = _SET_FLAG if value is None else _SET_STRING
        text = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        self._configure(command, key.encode("utf-8", "surrogateescape"), text, 0)

    def set_descriptor(self, key: str, fd: int) -> None:
        """Set an option that takes a descriptor of ours; raises as `set`."""
        self._configure(_SET_FD, key.encode(), None, fd)

    def create(self) -> None:
        """Make the file system, or find the one that is there.

        Raises:
            KernelError: As mount(2): EINVAL for what is no such file system, EBUSY, EROFS ...
        """
        self._configure(_CREATE, None, None, 0)

    def mount(self, attributes: int = 0) -> Mount:
        """Make a mount of it, with *attributes* (``MOUNT_ATTR_*``), which nobody sees yet.

        Raises:
            KernelError: With its errno.
        """
        fd = syscall(number("fsmount"), self.fd, _CLOEXEC, attributes)
        return Mount(check(fd, "fsmount(2)"))

    def messages(self) -> list[str]:
        """What the file system has to say about an error, one line each; read once."""
        found = []
        with suppress(OSError):
            while True:
                found.append(os.read(self.fd, 8192).decode("utf-8", "replace").rstrip("\n"))
        return found

    def _configure(self, command: int, key: bytes | None, value: bytes | None, aux: int) -> None:
        check(syscall(number("fsconfig"), self.fd, command, key, value, aux), "fsconfig(2)")


def open_context(fstype: str) -> Context:
    """A context for a file system of the type *fstype*.

    Raises:
        KernelError: ENODEV: there is no such type; EPERM: we may not mount.
    """
    name = fstype.encode("utf-8", "surrogateescape")
    fd = syscall(number("fsopen"), name, _CLOEXEC)
    hint = "the supervisor needs CAP_SYS_ADMIN" if fd == -errno.EPERM else None
    return Context(check(fd, "fsopen(2)", hint=hint))


def clone(place: int, *, recursive: bool = False) -> Mount:
    """A copy of the mount that *place* is in, with *place* as its root, which nobody sees yet.

    Args:
        place: A descriptor, of this thread's mount namespace, or of a mount in none (Linux 6.15).
        recursive: With the mounts below it.

    Raises:
        KernelError: EINVAL: it is of another namespace, or not to be copied.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    return Mount(check(syscall(number("open_tree"), place, b"", flags), "open_tree(2)"))


def inside(
    namespace: int, work: Callable[[], T], *, others: Mapping[str, int] = MappingProxyType({})
) -> T:
    """Do *work* in a thread that is in a mount namespace, and return what it returns.

    Args:
        namespace: A descriptor of the namespace; -1: it stays in ours.
        work: Makes system calls on descriptors; must open nothing by path, and import nothing.
        others: Descriptors of other namespaces to be in, by kind: ``net``, ``ipc``, ``cgroup``.

    Raises:
        KernelError: EPERM: it takes CAP_SYS_ADMIN over the namespaces, and CAP_SYS_CHROOT.
    """
    found: list[T] = []
    failed: list[BaseException] = []
    unshare, setns = number("unshare"), number("setns")
    entered = [(fd, _CLONE[kind]) for kind, fd in others.items()]
    if namespace >= 0:
        entered.append((namespace, _CLONE_NEWNS))

    def run() -> None:
        try:
            # Those who share their directory with others cannot enter (setns(2)).
            check(syscall(unshare, _CLONE_FS), "unshare(2)")
            for fd, kind in entered:
                check(
                    syscall(setns, fd, kind),
                    "setns(2)",
                    "a namespace of the target cannot be entered",
                    hint="the supervisor needs CAP_SYS_ADMIN and CAP_SYS_CHROOT",
                )
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="unotify-inside", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def attach(namespace: int, mount: Mount, place: int) -> None:
    """Attach *mount* to what *place* is open on.

    Args:
        namespace: A descriptor of the mount namespace that *place* is of.
        mount: What.
        place: A descriptor; O_PATH will do.

    Raises:
        KernelError: As `inside`, and with the errno of move_mount(2): ENOENT if *place* was
            removed meanwhile, ENOTDIR if one of both is a directory and the other none.
    """
    _require_alike(mount.fd, place)
    move_mount, what = number("move_mount"), mount.fileno()

    def run() -> None:
        done = syscall(move_mount, what, b"", place, b"", _BOTH_ARE_DESCRIPTORS)
        check(done, "move_mount(2)")

    inside(namespace, run)


def _require_alike(source: int, place: int) -> None:
    # move_mount(2) has another errno for it than mount(2).
    if stat.S_ISDIR(os.fstat(source).st_mode) != stat.S_ISDIR(os.fstat(place).st_mode):
        raise KernelError(errno.ENOTDIR, "move_mount(2)")


def unmount(namespace: int, place: int, flags: int = _MNT_DETACH) -> None:
    """Unmount the mount whose root *place* is.

    Args:
        namespace: A descriptor of the mount namespace that it is in.
        place: A descriptor; it keeps the mount busy, which MNT_DETACH does not mind.
        flags: As of umount2(2), but for UMOUNT_NOFOLLOW, which is meaningless here.

    Raises:
        KernelError: As `inside`, and with the errno of umount2(2).
    """
    # It wants a path. Whoever has entered a namespace may find no procfs there, so the path
    # begins at a descriptor of ours.
    descriptors = os.open("/proc/thread-self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    fchdir, umount2, name = number("fchdir"), number("umount2"), b"%d" % place

    def run() -> None:
        check(syscall(fchdir, descriptors), "fchdir(2)")
        check(syscall(umount2, name, flags & ~_UMOUNT_NOFOLLOW), "umount2(2)")

    try:
        inside(namespace, run)
    finally:
        os.close(descriptors)


def bind(
    namespace: int,
    source: int,
    place: int,
    *,
    recursive: bool = False,
    set: int = 0,
) -> Mount:
    """Bind what *source* is open on to *place*, both of one mount namespace.

    Args:
        namespace: A descriptor of it.
        source: A descriptor; O_PATH will do.
        place: Likewise.
        recursive: With the mounts below *source*.
        set: ``MOUNT_ATTR_*`` for all of them, before anybody sees them.

    Returns:
        The mount, which is attached.

    Raises:
        KernelError: As `inside`, and with the errno of mount(2).
    """
    _require_alike(source, place)
    move_mount = number("move_mount")

    def run() -> Mount:
        with ExitStack() as stack:
            mount = stack.enter_context(clone(source, recursive=recursive))
            if set:
                mount.change(set=set, recursive=recursive)
            done = syscall(move_mount, mount.fd, b"", place, b"", _BOTH_ARE_DESCRIPTORS)
            check(done, "move_mount(2)")
            stack.pop_all()
            return mount

    return inside(namespace, run)


def change(namespace: int, place: int, *, set: int, clear: int = 0) -> None:
    """Change the mount whose root *place* is; see `Mount.change`.

    Args:
        namespace: A descriptor of the mount namespace that it is in.
        place: A descriptor; O_PATH will do.
        set: ``MOUNT_ATTR_*`` to set.
        clear: Those to take away.

    Raises:
        KernelError: As `inside`; EINVAL: *place* is no root of a mount.
    """
    # A Mount closes what it owns, and this is somebody else's.
    inside(namespace, lambda: Mount.change(Mount(place), set=set, clear=clear))


def needs_device(fstype: str) -> bool:
    """Whether file systems of type *fstype* are on a block device.

    Raises:
        KernelError: As `open_context`.
    """
    open_context(fstype).close()  # may load the module of it
    with open("/proc/filesystems", encoding="utf-8") as known:
        for line in known:
            kind, _, name = line.rstrip("\n").partition("\t")
            if name == fstype.partition(".")[0]:
                return kind != "nodev"
    return False


@contextmanager
def device_path(device: int) -> Iterator[str]:
    """A path here that leads to the block device number *device*, for as long as that is needed.

    Its name in ``/dev`` where that is right, since it is what all tools show; else that of a node
    that nobody else sees.

    Raises:
        KernelError: We may not make one.
    """
    major, minor = os.major(device), os.minor(device)
    names = [f"/dev/block/{major}:{minor}"]
    with suppress(OSError), open(f"/sys/dev/block/{major}:{minor}/uevent") as told:
        names[:0] = [f"/dev/{line[8:].rstrip()}" for line in told if line.startswith("DEVNAME=")]
    for name in names:
        with suppress(OSError):
            found = os.stat(name)
            if stat.S_ISBLK(found.st_mode) and found.st_rdev == device:
                yield name
                return
    with open_context("tmpfs") as context:
        context.create()
        with context.mount() as tree:
            try:
                os.mknod("node", stat.S_IFBLK | 0o600, device, dir_fd=tree.fd)
            except OSError as error:
                raise KernelError(error.errno or errno.EPERM, "mknodat(2)") from error
            yield f"/proc/self/fd/{tree.fd}/node"
