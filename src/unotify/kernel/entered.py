"""Work in the namespaces of targets, by a thread that enters them and ends.

Theory of operation. What is done in the mount namespace of a target is done by a thread that has
entered it, for that one act: there is no way back that could fail. In there absolute paths are the
target's, so what is meant is given by descriptors, and nothing is imported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number

__all__ = ["inside"]

T = TypeVar("T")

_CLONE_FS: Final = 0x200
_CLONE_NEWNS: Final = 0x20000
_CLONE: Final = {"cgroup": 0x02000000, "ipc": 0x08000000, "net": 0x40000000}


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
