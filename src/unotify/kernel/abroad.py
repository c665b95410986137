"""Acting for targets in other user namespaces: by a process that is in theirs.

Theory of operation. Ids and capabilities mean something in one user namespace only, and a
process can enter one only while it has a single thread. So for each namespace that is asked for
there is one small process (`unotify.kernel.abroad_main`), which enters it and stays. It gets
each act as text, with descriptors of the target's root, its directory and its ``/proc`` entry,
takes on the target's rights as its namespace numbers them, and acts. What may take long it does
in a fork of itself, so that the others need not wait.

A namespace is born without ids: until somebody has written its maps, nobody can take on any. Who
acts in that time is a process that had the target's ids before it went there.

Each request brings the socket for its answer along. When the target has gone that socket is
closed here, and whoever still works on it there ends.

A target that is root in its namespace may stop or kill that process, as it may all in there. So
nothing here waits for it without an end, nor makes targets of other namespaces wait. It cannot
look into it: a process that has entered a namespace is not dumpable.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final, TypeAlias

from unotify.calls.acts import Act
from unotify.calls.lookups import Spot
from unotify.errors import KernelError, Refused
from unotify.kernel.acts import Outcome
from unotify.kernel.blocking import Waiting
from unotify.kernel.packing import pack_act, unpack_outcome
from unotify.kernel.pinning import Pin

__all__ = ["Abroad"]

_MOST: Final = 16
"""How many such processes are kept."""

_TICK: Final = 0.05
_PATIENCE: Final = 5.0
_LONGEST: Final = 4 << 20
_ANSWER_FDS: Final = 1


_Key: TypeAlias = tuple[int, int, str]
"""A namespace, by device and inode, and the ids it was entered with, if it had none."""


class _Helper:
    def __init__(self, namespace: int, ids: str) -> None:
        try:
            with ExitStack() as stack:
                self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                stack.callback(self.socket.close)
                with theirs:
                    self.namespace = os.dup(namespace)  # so that its number is not given to another
                    stack.callback(os.close, self.namespace)
                    self.process = _process(theirs.fileno(), namespace, ids)
                stack.pop_all()
        except OSError as error:
            raise KernelError(
                error.errno or errno.EAGAIN,
                "fork(2)",
                f"no process for the user namespace of the target: {error.strerror}",
            ) from error
        self.socket.settimeout(_PATIENCE)
        self.lock = threading.Lock()
        self.users = 0
        self.refusal = self._begin()

    def _begin(self) -> int:
        try:
            word = self.socket.recv(4)
        except OSError:
            word = b""
        return int.from_bytes(word, "little") if len(word) == 4 else errno.EPERM

    def close(self) -> None:
        """End it, when it has done what it does now; if it does not, kill it."""
        self.socket.close()
        os.close(self.namespace)
        try:
            self.process.wait(_PATIENCE / 10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_OURS: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START: Final = (
    "import os, sys; sys.path.insert(0, os.environ['UNOTIFY_PATH']); "
    "from unotify.kernel.abroad_main import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
)


def _process(control: int, namespace: int, ids: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _START, str(control), str(namespace), ids],
        env={"UNOTIFY_PATH": _OURS},
        stdin=subprocess.DEVNULL,
        pass_fds=(control, namespace),
        # Ours mean something there too, as groups without a number.
        extra_groups=[] if os.geteuid() == 0 else None,
    )


def _limits(thread: Any, act: Act) -> tuple[bool, int]:
    """What the process there cannot find out: is the target alike, and its RLIMIT_FSIZE."""
    if act.name in ("openat", "mknodat"):
        return thread.is_alike(), -1
    return True, thread.file_limit() if "truncate" in act.name or act.name == "fallocate" else -1


def _born_with(thread: Any) -> str:
    """The ids to enter its user namespace with, if that has none of its own yet; or nothing."""
    if all(thread.id_map(kind) for kind in ("uid", "gid")):
        return ""
    theirs = thread.rights()
    return " ".join(map(str, (theirs.uid, theirs.gid, *theirs.groups)))


def _starts_there(spot: Spot) -> bool:
    return bool(spot.path or spot.empty) and (bool(spot.resolve) or not spot.path.startswith(b"/"))


class Abroad:
    """The processes in other user namespaces."""

    def __init__(self) -> None:
        self._helpers: OrderedDict[_Key, _Helper] = OrderedDict()
        self._starting: dict[_Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def pin(self, thread: Any, spot: Spot, wait: Waiting) -> Pin:
        """Find out what *spot* names for *thread*; see `unotify.kernel.acting.Actor.pin`."""
        outcome = self.act(thread, Act("pin", "pin", spots={"path": spot}), {}, {}, {}, wait)
        return Pin(outcome.fd, outcome.outs["name"], thread.place.root)

    def act(
        self,
        thread: Any,
        act: Act,
        pins: Mapping[str, Pin],
        fds: Mapping[str, int],
        passed: Mapping[int, int],
        wait: Waiting,
    ) -> Outcome:
        """Do *act* for *thread*; see `unotify.kernel.acting.Actor.act`."""
        helper = self._helper(thread)
        try:
            return self._act(helper, thread, act, pins, fds, passed, wait)
        finally:
            with self._lock:
                helper.users -= 1

    def _act(
        self,
        helper: _Helper,
        thread: Any,
        act: Act,
        pins: Mapping[str, Pin],
        fds: Mapping[str, int],
        passed: Mapping[int, int],
        wait: Waiting,
    ) -> Outcome:
        place = thread.place
        starts: dict[str, int] = {"proc": thread.home.directory, "root": place.root}
        dirfds = {-100} | {spot.dirfd for spot in act.spots.values() if spot.dirfd >= 0}
        for dirfd in dirfds:
            if dirfd == -100 or any(
                spot.dirfd == dirfd and _starts_there(spot) for spot in act.spots.values()
            ):
                starts[f"at {dirfd}"] = place.start(dirfd)
        sent = {
            **starts,
            **{f"fd {name}": fd for name, fd in fds.items()},
            **{f"pin {name}": pinned.fd for name, pinned in pins.items()},
            **{f"pass {number}": fd for number, fd in passed.items()},
        }
        names = {name: pinned.name for name, pinned in pins.items()}
        text = pack_act(
            act, list(sent), names, tid=thread.tid, tgid=thread.tgid, limits=_limits(thread, act)
        )
        answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with answers:
            with theirs, helper.lock:
                head = len(text).to_bytes(8, "little")
                try:
                    socket.send_fds(helper.socket, [head], [theirs.fileno(), *sent.values()])
                    helper.socket.sendall(text)
                except OSError as error:
                    self._forget(helper)
                    raise KernelError(
                        errno.EPERM,
                        "sendmsg(2)",
                        f"the process in the user namespace ended: {error}",
                    ) from error
            return self._answer(answers, wait)

    def _answer(self, answers: socket.socket, wait: Waiting) -> Outcome:
        waiting = select.poll()
        waiting.register(answers, select.POLLIN)
        wait(lambda: 0 if waiting.poll(_TICK * 1000) else -errno.EINTR)
        answers.settimeout(_PATIENCE)
        data, got, _, _ = socket.recv_fds(answers, 8, _ANSWER_FDS, socket.MSG_CMSG_CLOEXEC)
        try:
            if len(data) < 8:
                raise KernelError(
                    errno.EPERM, "recvmsg(2)", "the process in the user namespace failed"
                )
            length = int.from_bytes(data, "little")
            text = b""
            while len(text) < length and length <= _LONGEST:
                more = answers.recv(length - len(text))
                if not more:
                    raise KernelError(errno.EPERM, "recvmsg(2)", "half an answer came")
                text += more
            outcome, refused = unpack_outcome(text, got[0] if got else -1)
        except BaseException:
            for fd in got:
                os.close(fd)
            raise
        if refused is not None:
            raise Refused(refused, errno=-outcome.value)
        return outcome

    def _helper(self, thread: Any) -> _Helper:
        namespace = thread.open_user_namespace()
        try:
            found = os.fstat(namespace)
            key: _Key = found.st_dev, found.st_ino, ""
            helper = self._known(key)
            if helper is None and (ids := _born_with(thread)):
                key = found.st_dev, found.st_ino, ids
                helper = self._known(key)
            if helper is None:
                with self._lock:
                    starting = self._starting.setdefault(key, threading.Lock())
                with starting:
                    helper = self._known(key) or self._started(key, namespace)
        finally:
            os.close(namespace)
        if helper.refusal:
            self._forget(helper)
            raise KernelError(
                helper.refusal,
                "setns(2)",
                "the user namespace of the target cannot be entered",
                hint="the supervisor has to be root, or the user that made the namespace",
            )
        return helper

    def _known(self, key: _Key) -> _Helper | None:
        with self._lock:
            helper = self._helpers.get(key)
            if helper is None or helper.process.poll() is not None:
                return None
            self._helpers.move_to_end(key)
            helper.users += 1
            return helper

    def _started(self, key: _Key, namespace: int) -> _Helper:
        helper = _Helper(namespace, key[2])
        left = []
        with self._lock:
            self._starting.pop(key, None)
            dead = self._helpers.pop(key, None)
            if dead is not None:
                left.append(dead)
            # Whoever went there before it had ids is needed no more.
            for other in [each for each in self._helpers if each[:2] == key[:2]]:
                if not key[2] and not self._helpers[other].users:
                    left.append(self._helpers.pop(other))
            self._helpers[key] = helper
            helper.users += 1
            # Of those that act now there may be more, for a while.
            for other in [known for known, each in self._helpers.items() if not each.users]:
                if len(self._helpers) > _MOST:
                    left.append(self._helpers.pop(other))
        for each in left:
            each.close()
        return helper

    def _forget(self, helper: _Helper) -> None:
        left = []
        with self._lock:
            for key, known in list(self._helpers.items()):
                if known is helper:
                    left.append(self._helpers.pop(key))
        for each in left:
            each.close()

    def rest(self) -> None:
        """End those that nobody uses."""
        with self._lock:
            idle = [key for key, helper in self._helpers.items() if not helper.users]
            helpers = [self._helpers.pop(key) for key in idle]
        for helper in helpers:
            helper.close()
