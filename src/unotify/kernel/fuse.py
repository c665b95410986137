"""File systems that a program in user space serves, mounted without its help.

Theory of operation. A FUSE mount is a mount whose context has a descriptor of ``/dev/fuse`` that
somebody reads. Usually that somebody mounts it too, by a path and a set-user-ID program. Here the
supervisor mounts, so that nobody has to find a path, and hands the descriptor to the program, as
libfuse takes one in the place of a mount point: ``/dev/fd/N`` (since 3.3). The program runs as an
ordinary user. When the last mount is gone it hears of that, and ends. It is outside of the control
groups of who asked for it, so there are only so many for each.
"""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Final

from unotify.errors import KernelError
from unotify.kernel.mounting import Mount, open_context

__all__ = ["MOST", "serve"]

MOST: Final = 32
"""How many programs serve for one owner at a time."""

_PATIENCE: Final = 10.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_serving: Counter[Hashable] = Counter()
_lock: Final = threading.Lock()


def _begin(owner: Hashable) -> None:
    with _lock:
        if _serving[owner] >= MOST:
            raise KernelError(errno.ENOSPC, "mount(2)", f"{MOST} programs serve for it already")
        _serving[owner] += 1


def _end(owner: Hashable) -> None:
    with _lock:
        _serving[owner] -= 1
        if not _serving[owner]:
            del _serving[owner]


def serve(
    command: Sequence[str],
    source: int,
    *,
    owner: Hashable,
    uid: int,
    gid: int,
    attributes: int,
) -> Mount:
    """Start a program that serves what *source* is open on, and mount that.

    Args:
        command: The program and its options; it gets two more arguments, the path of the source
            and a mount point of the form ``/dev/fd/N``, and has to stay in the foreground.
        source: A descriptor.
        owner: Whose it is, to count them: such as the listener that it was asked for by.
        uid: Whose rights the program has.
        gid: Likewise; it has no further groups.
        attributes: ``MOUNT_ATTR_*``.

    Returns:
        A mount that nobody sees yet. Its program has answered once.

    Raises:
        KernelError: EINVAL: the program ended instead; ETIMEDOUT: it did not answer in time; ENOENT
            and the like: it cannot be started, or there is no ``/dev/fuse``; ENOSPC: too many.
    """
    _begin(owner)
    try:
        mount, process = _serve(command, source, uid, gid, attributes)
    except BaseException:
        _end(owner)
        raise

    def wait() -> None:
        process.wait()
        _end(owner)

    threading.Thread(target=wait, name="unotify-fuse", daemon=True).start()
    try:
        _await_answer(mount, process)
    except BaseException:
        mount.close()
        process.kill()
        raise
    return mount


def _serve(
    command: Sequence[str], source: int, uid: int, gid: int, attributes: int
) -> tuple[Mount, subprocess.Popen[bytes]]:
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(
            error.errno or errno.EIO,
            "open(2)",
            f"/dev/fuse: {error.strerror}",
            hint="the host has to have FUSE",
        ) from error
    try:
        mount = _mounted(device, command[0], uid, gid, attributes)
        try:
            return mount, _started(command, source, device, uid, gid)
        except BaseException:
            mount.close()
            raise
    finally:
        os.close(device)


def _mounted(device: int, name: str, uid: int, gid: int, attributes: int) -> Mount:
    with open_context("fuse") as context:
        options = {
            "source": os.path.basename(name),
            "subtype": os.path.basename(name),
            "fd": str(device),
            "rootmode": "40000",
            "user_id": str(uid),
            "group_id": str(gid),
        }
        for key, value in options.items():
            context.set(key, value)
        context.set("default_permissions")
        context.set("allow_other")
        context.create()
        return context.mount(attributes)


def _started(
    command: Sequence[str], source: int, device: int, uid: int, gid: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [*command, f"/proc/self/fd/{source}", f"/dev/fd/{device}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(source, device),
            user=uid,
            group=gid,
            extra_groups=[],
            cwd="/",
            env={"PATH": _PATH, "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        raise KernelError(
            error.errno or errno.EAGAIN,
            "execve(2)",
            f"{command[0]}: {error.strerror}",
            hint="a policy names it: is it installed on the host?",
        ) from error


def _await_answer(mount: Mount, process: subprocess.Popen[bytes]) -> None:
    # Whoever asks waits for the program; if that ends, its connection is aborted.
    answers: list[int] = []

    def ask() -> None:
        try:
            os.stat(f"/proc/thread-self/fd/{mount.fd}/.")
            answers.append(0)
        except OSError as error:
            answers.append(error.errno or errno.EIO)

    asker = threading.Thread(target=ask, name="unotify-fuse-ask", daemon=True)
    asker.start()
    asker.join(_PATIENCE)
    if asker.is_alive():
        process.kill()
        asker.join()
        raise KernelError(errno.ETIMEDOUT, "fuse(4)", "the program does not answer")
    if answers[0]:
        raise KernelError(errno.EINVAL, "fuse(4)", "the program cannot serve that")
