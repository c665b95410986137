"""The notification descriptor of the running Linux.

Theory of operation: a listener is five ioctls and a poll. This is the fast
path of all that stands above, so each method is one `fcntl.ioctl` and a few
names for its errors. Which errors are life:

- EINTR is retried everywhere. CPython installs its handlers without
  SA_RESTART, so any of them may end an ioctl, and `fcntl.ioctl` does not retry
  by itself. Python's own handlers run before the retry, so Ctrl-C works. None
  of these ioctls has done anything when it says EINTR (A13, I12), but for
  ADDFD with the SEND flag, which leaves the target with a false answer (A14):
  so that flag is never used, and `LinuxListener.send_fd` takes two steps.
- ENOENT: nobody waits for it (N8, N10), or nobody is left (E6).
- EINPROGRESS: it was answered before (N10, N11).
- ESRCH: the target died while ADDFD waited for it (A12).

All others are :exc:`KernelError`, with their errno.

The last close answers everybody who waits with ENOSYS (R3, R4). A copy in a
forked process would keep them waiting for ever (R7). So the descriptor is
close-on-exec, and `os.fork` closes the new process's copy.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import select
import threading
import warnings
from fcntl import ioctl
from struct import Struct
from types import TracebackType
from typing import Final, NoReturn, Self
from weakref import WeakSet

from unotify.abi.features import Feature
from unotify.abi.seccomp import ListenerFlag, Operation
from unotify.abi.structs import RESPONSE, NotifSizes
from unotify.abi.types import NotificationId
from unotify.errors import KernelError, TargetGone, Unsupported
from unotify.kernel._libc import NATIVE, SYS_SECCOMP, check, syscall
from unotify.protocol.codec import check_sizes, encode_addfd, pad_response

__all__ = ["LISTENER_LINK", "LinuxListener", "notif_sizes"]

LISTENER_LINK: Final = "anon_inode:seccomp notify"
"""What ``/proc/PID/fd/N`` of a listener links to (N13)."""

_IOCTLS: Final = NATIVE.ioctls
_NOTIF_RECV: Final = _IOCTLS.recv
_NOTIF_SEND: Final = _IOCTLS.send
_ID: Final = Struct("=Q")

_RECV: Final = "ioctl(SECCOMP_IOCTL_NOTIF_RECV)"
_SEND: Final = "ioctl(SECCOMP_IOCTL_NOTIF_SEND)"
_ID_VALID: Final = "ioctl(SECCOMP_IOCTL_NOTIF_ID_VALID)"
_ADDFD: Final = "ioctl(SECCOMP_IOCTL_NOTIF_ADDFD)"
_SET_FLAGS: Final = "ioctl(SECCOMP_IOCTL_NOTIF_SET_FLAGS)"


@functools.cache
def notif_sizes() -> NotifSizes:
    """Ask the kernel, once, how large its notification structs are.

    Raises:
        KernelError: No seccomp(2), or no user notification in it (before 5.0).
        KernelProtocolError: Structs that are smaller than ours.
    """
    raw = ctypes.create_string_buffer(6)
    result = syscall(SYS_SECCOMP, Operation.GET_NOTIF_SIZES, 0, raw)
    check(
        result,
        "seccomp(SECCOMP_GET_NOTIF_SIZES)",
        hint="a sandbox around us forbids it: allow seccomp(2) in its profile"
        if result in (-errno.EPERM, -errno.EACCES)
        else "user notification needs Linux 5.0 or newer with CONFIG_SECCOMP_FILTER",
    )
    return check_sizes(NotifSizes.unpack(raw.raw))


class LinuxListener:
    """One seccomp listener; owns its descriptor.

    All methods may be called from any thread. Only `close` asks for care: see there.

    Args:
        fd: A listener, taken over. `from_fd` checks that it is one.
        sizes: The kernel's struct sizes; asked for if not given.

    Attributes:
        sizes: The kernel's struct sizes. A buffer to receive into has
            ``sizes.notif`` bytes, a response at least ``sizes.response``.
    """

    __slots__ = ("__weakref__", "_clear", "_fd", "_id_valid", "_response_size", "_size", "sizes")

    def __init__(self, fd: int, *, sizes: NotifSizes | None = None) -> None:
        self._fd = -1  # so that __del__ works whatever follows
        self.sizes = notif_sizes() if sizes is None else check_sizes(sizes)
        self._size = self.sizes.notif
        self._clear = Struct(f"{self._size}x").pack_into  # quicker than to assign zeros
        self._response_size = self.sizes.response
        self._id_valid = _IOCTLS.id_valid
        self._fd = fd
        _open.add(self)

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """Take over *fd* after a look at what it is; it becomes close-on-exec.

        Raises:
            KernelError: EBADF, or EINVAL when it is something else than a
                listener. *fd* then stays the caller's.
        """
        try:
            link = os.readlink(f"/proc/thread-self/fd/{fd}")
        except OSError as error:
            raise KernelError(
                errno.EBADF, "readlink(2)", f"descriptor {fd} is not open, or /proc is not mounted"
            ) from error
        if link != LISTENER_LINK:
            raise KernelError(
                errno.EINVAL, "readlink(2)", f"descriptor {fd} is no seccomp listener but {link}"
            )
        os.set_inheritable(fd, False)
        return cls(fd)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed.

        Poll it for POLLIN only: POLLOUT is on as long as anything is
        unanswered (E2).
        """
        return self._fd

    def receive_into(self, buffer: bytearray) -> bool:
        """Receive the oldest pending notification; blocks while there is none (N2, N7).

        O_NONBLOCK is ignored by the kernel (N7): poll first. After POLLIN a
        *single* reader never blocks; of several readers all but one do (E9).

        A Python signal handler that raises may do so just after the kernel
        handed something out: then *buffer* holds it, and is not all zero. Who
        goes on after such an exception must serve it, or the target waits.

        Args:
            buffer: Overwritten; has ``sizes.notif`` bytes afterwards, whatever
                it had before. The kernel wants them zeroed (N5).

        Returns:
            False on ENOENT: a notification vanished before it was received
            (N8), or nobody uses the filter any more (E6, since Linux 6.11).

        Raises:
            KernelError: Such as EFAULT; EBADF when closed.
        """
        if len(buffer) != self._size:
            buffer[:] = bytes(self._size)
        while True:
            self._clear(buffer, 0)
            try:
                ioctl(self._fd, _NOTIF_RECV, buffer, True)
            except FileNotFoundError:
                return False
            except InterruptedError:
                continue
            except (OSError, ValueError) as error:
                _fail(_RECV, error)
            return True

    def send(self, response: bytes | bytearray) -> bool:
        """Answer with a ``seccomp_notif_resp`` of at least ``sizes.response`` bytes.

        Returns:
            False when nobody waits for it: ENOENT, or EINPROGRESS after an
            earlier answer (N10). Undo what was done for the call (I10).

        Raises:
            KernelError: EINVAL for unknown flags, or for CONTINUE with a value or
                before Linux 5.5 (N10, C5); EBADF when closed.
            ValueError: *response* is too short.
        """
        if len(response) < self._response_size:
            raise ValueError(f"a response has {self._response_size} bytes, not {len(response)}")
        while True:
            try:
                ioctl(self._fd, _NOTIF_SEND, response)
            except FileNotFoundError:
                return False
            except InterruptedError:
                continue
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EINPROGRESS:
                    return False
                _fail(_SEND, error)
            return True

    def is_valid(self, id: NotificationId) -> bool:
        """Whether the target still waits for *id*, received and not answered (N9).

        Before Linux 5.8 the ioctl had a wrong number; it is tried when the
        right one is EINVAL, and then kept.
        """
        packed = _ID.pack(id)
        while True:
            try:
                ioctl(self._fd, self._id_valid, packed)
            except FileNotFoundError:
                return False
            except InterruptedError:
                continue
            except (OSError, ValueError) as error:
                known = self._id_valid == _IOCTLS.id_valid_old
                if known or not isinstance(error, OSError) or error.errno != errno.EINVAL:
                    _fail(_ID_VALID, error)
                self._id_valid = _IOCTLS.id_valid_old
                continue
            return True

    def add_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> int:
        """Put a copy of *fd* into the target; the call stays unanswered (A1-A8).

        The copy shares the open file description: offset and status flags
        (A1). The target's own limits apply (A2). Waits until the target has
        run, or has died.

        Args:
            id: Received and not answered.
            fd: Our descriptor; not O_PATH (A5), never the listener itself.
            at: The exact number in the target, replacing what is open there
                (SETFD); the lowest free one if ``None`` (A3).
            cloexec: Whether the target's next exec closes it.

        Returns:
            The descriptor's number in the target.

        Raises:
            TargetGone: Nobody waits any more (N11, A12).
            KernelError: EBADF for a bad or O_PATH *fd*, or *at* beyond the
                target's limit; EMFILE for no free number (A5, A7); and so on.
        """
        # A bytearray, since for bytes fcntl.ioctl returns the buffer and not the number.
        packed = bytearray(encode_addfd(id, fd, at=at, cloexec=cloexec, o_cloexec=os.O_CLOEXEC))
        while True:
            try:
                number: int = ioctl(self._fd, _IOCTLS.addfd, packed, True)
            except InterruptedError:
                continue  # nothing was installed (A13)
            except (FileNotFoundError, ProcessLookupError):
                raise TargetGone("the call ended before it got its descriptor") from None
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EINPROGRESS:
                    raise TargetGone("the call was answered before") from None
                _fail(_ADDFD, error)
            return number

    def send_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> bool:
        """Answer with a copy of *fd*: `add_fd`, then `send` of its number.

        Two steps, because the kernel's single step is broken on Linux 6.18 and
        7.2 when a signal, a stop or a tracer reaches *us* in the middle: the
        target's call then returns 0 without any descriptor (A14).

        The price is a window. A signal to the *target* between the steps ends
        its call and leaves the copy open there, unknown to the program (A9).
        A filter with WAIT_KILLABLE_RECV closes it: only death ends such a call.

        Returns:
            False when nobody waits any more.

        Raises:
            KernelError: As in `add_fd`; the call is still unanswered then.
        """
        try:
            number = self.add_fd(id, fd, at=at, cloexec=cloexec)
        except TargetGone:
            return False
        return self.send(pad_response(RESPONSE.pack(id, number, 0, 0), self.sizes))

    def set_flags(self, flags: ListenerFlag) -> None:
        """Replace the listener's flags; all zero clears them (W1).

        Raises:
            Unsupported: EINVAL: before Linux 6.6, or a flag newer than the kernel.
        """
        while True:
            try:
                ioctl(self._fd, _IOCTLS.set_flags, int(flags))
            except InterruptedError:
                continue
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno == errno.EINVAL:
                    raise Unsupported(Feature.SYNC_WAKE_UP.label, _SET_FLAGS) from None
                _fail(_SET_FLAGS, error)
            return

    def pending(self) -> bool:
        """Whether a notification waits to be received; never blocks (E1)."""
        poll = select.poll()
        try:
            poll.register(self._fd, select.POLLIN)
            events = poll.poll(0)
        except (OSError, ValueError) as error:
            _fail("poll(2)", error)
        return bool(events) and bool(events[0][1] & select.POLLIN)

    def close(self) -> None:
        """Close it; closing twice is fine, from any thread.

        If it is the last copy, everybody who waits gets ENOSYS, now and later
        (R3, R4): answer first what was received.

        Stop the readers first, with a poller's wake-up. A thread that sits in
        `receive_into` is not woken, and targets stay blocked until it returns
        (R6); a thread about to enter it could even meet the number's next owner.
        """
        with _closing:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def detach(self) -> int:
        """Give the descriptor to the caller: to this object it is closed from now on."""
        with _closing:
            fd, self._fd = self._fd, -1
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<LinuxListener {'closed' if self.closed else f'fd={self._fd}'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a listener cannot be copied or pickled: use handover.send_listener")


def _fail(call: str, error: OSError | ValueError) -> NoReturn:
    # ValueError is fcntl's and poll's word for a descriptor of -1: ours after close().
    if isinstance(error, OSError):
        raise KernelError(error.errno or errno.EIO, call) from None
    raise KernelError(errno.EBADF, call, "the listener is closed") from error


# R7. The lock is held across a fork, so that the new process sees each listener
# either open or closed, never between forgetting its number and closing it.
_open: Final[WeakSet[LinuxListener]] = WeakSet()
_closing: Final = threading.RLock()


def _forget_in_forked_process() -> None:
    _closing.release()
    for listener in list(_open):
        listener.close()


os.register_at_fork(
    before=_closing.acquire,
    after_in_parent=_closing.release,
    after_in_child=_forget_in_forked_process,
)
