"""What a notification can be answered with: four frozen values, none of which can be wrong.

The kernel takes any number in a reply's ``error`` field and most in ``val``.
Several of them mean something else than they say: a positive ``error`` is a
*success* (V3), a small negative ``val`` is an errno (V4), and 512 to 531 are
the kernel's own codes and leak into the target (V5). So these values are
checked when they are built, once, and sent without a second thought.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from unotify.abi.seccomp import MAX_ERRNO, ResponseFlag
from unotify.errors import LocalProtocolError

__all__ = ["Content", "Continue", "Fail", "HasFileno", "InstallFd", "PlainReply", "Reply", "Return"]

_KERNEL_INTERNAL: Final = range(512, 532)


class HasFileno(Protocol):
    """Anything with a file descriptor: a file, a socket, a listener."""

    def fileno(self) -> int:
        """The descriptor."""


def _integer(value: object, what: str) -> int:
    # bool is an int to Python and nearly always a mistake here.
    if isinstance(value, bool) or not isinstance(value, int):
        raise LocalProtocolError(f"{what} is an int, not {value!r}")
    return int(value)


_SIGN: Final = 1 << 63
_set = object.__setattr__


def _check_value(given: object) -> int:
    value = _integer(given, "the value of Return")
    if not -_SIGN <= value < 2 * _SIGN:
        raise LocalProtocolError(f"Return({value}) does not fit into 64 bits")
    errno = -value if value < _SIGN else 2 * _SIGN - value
    if 0 < errno <= MAX_ERRNO:
        raise LocalProtocolError(
            f"Return({value}) would arrive as errno {errno}", hint=f"use Fail({errno})"
        )
    return value


@dataclass(frozen=True, slots=True)
class Return:
    """The call succeeds and returns *value*; the kernel does nothing else.

    Args:
        value: What the target sees, -2**63 to 2**64-1; addresses may be given
            unsigned. -4095 to -1 are refused, since libc would take them for
            an errno (V4): that is :class:`Fail`.
    """

    value: int = 0

    def __init__(self, value: int = 0) -> None:
        # Written by hand, since one is made for nearly every call.
        if type(value) is not int or not 0 <= value < _SIGN:
            value = _check_value(value)
        _set(self, "value", value)

    @property
    def wire(self) -> tuple[int, int, int]:
        """The value, error and flags to send."""
        value = self.value
        return (value if value < _SIGN else value - 2 * _SIGN, 0, 0)


@dataclass(frozen=True, slots=True)
class Fail:
    """The call fails with *errno* and has no effect.

    Args:
        errno: Positive, 1 to 4095, such as ``errno.EPERM``; not 512 to 531,
            which the kernel keeps for itself (V3, V5).
    """

    errno: int
    wire: tuple[int, int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        errno = _integer(self.errno, "the errno of Fail")
        if not 1 <= errno <= MAX_ERRNO:
            raise LocalProtocolError(
                f"Fail({errno}) is no errno: it is positive, 1 to {MAX_ERRNO}",
                hint="for a successful call use Return()" if errno == 0 else None,
            )
        if errno in _KERNEL_INTERNAL:
            raise LocalProtocolError(f"Fail({errno}) is a kernel-internal code (512 to 531)")
        object.__setattr__(self, "wire", (0, -errno, 0))


@dataclass(frozen=True, slots=True)
class Continue:
    """The kernel runs the call in the target, with the target's own rights (C1).

    Registers are as they were trapped; memory is as it is *then* (C2). So a
    call whose memory was read refuses a plain ``Continue``: the target may have
    rewritten what was checked. :meth:`racy` says so aloud.

    Attributes:
        because: Why a racy one is good enough, or ``None`` for a plain one.
    """

    because: str | None = field(default=None, init=False)
    wire: tuple[int, int, int] = field(
        default=(0, 0, int(ResponseFlag.CONTINUE)), init=False, repr=False, compare=False
    )

    @classmethod
    def racy(cls, *, because: str) -> Continue:
        """Continue although memory was read; the reason is counted and logged.

        Sound only where the kernel itself would refuse every rewritten form,
        or where the decision protects nothing (a log, a counter).
        """
        if not isinstance(because, str) or not because.strip():
            raise LocalProtocolError("Continue.racy wants a reason in because=")
        reply = cls()
        object.__setattr__(reply, "because", because)
        return reply


@dataclass(frozen=True, slots=True)
class Content:
    """A file that is yet to be made, in memory.

    Attributes:
        data: What is in it.
        sealed: Nobody can ever write to it.
    """

    data: bytes = field(repr=False)
    sealed: bool = True


@dataclass(frozen=True, slots=True)
class InstallFd:
    """The call returns a descriptor that is installed in the target.

    Both sides then share one open file description: offset, flags and locks.
    Installing and answering are two steps, since the kernel's one-step form
    loses the descriptor when the supervisor takes a signal (A14).

    Args:
        fd: The supervisor's descriptor, or an object with ``fileno()``. It
            is borrowed: it must stay open until the reply is sent.
        at: The number it gets in the target, replacing what is open there;
            ``None`` for the lowest free one (A3).
        cloexec: Whether the target's exec closes it.
        owned: Close *fd* (by ``close()`` of the object, if it is one) once
            the target has its copy, before it goes on, or the reply is known to be in vain.
        result: What the call returns, if that is not the descriptor's number: 0 where
            a connected socket takes the place of the target's own, or a `Fail`, such as of
            EINPROGRESS, where that socket is not connected yet.
    """

    fd: int | HasFileno | Content
    at: int | None = field(default=None, kw_only=True)
    cloexec: bool = field(default=True, kw_only=True)
    owned: bool = field(default=False, kw_only=True)
    result: int | Fail | None = field(default=None, kw_only=True)

    @classmethod
    def of_bytes(
        cls, data: bytes | str, *, sealed: bool = True, at: int | None = None, cloexec: bool = True
    ) -> InstallFd:
        """A descriptor of a file in memory that has *data* in it.

        Args:
            data: The content; text is UTF-8.
            sealed: It can only be read, by anybody; otherwise read and written.
            at: As above.
            cloexec: As above.
        """
        content = data.encode() if isinstance(data, str) else bytes(data)
        return cls(Content(content, sealed), at=at, cloexec=cloexec)

    def __post_init__(self) -> None:
        if self.result is not None and not isinstance(self.result, Fail):
            _check_value(self.result)
        if not isinstance(self.fd, Content) and not hasattr(self.fd, "fileno"):
            number = _integer(self.fd, "the descriptor of InstallFd")
            if not 0 <= number < 1 << 31:
                raise LocalProtocolError(f"InstallFd({number}): no such descriptor can exist")
        if self.at is not None and not 0 <= _integer(self.at, "at=") < 1 << 31:
            raise LocalProtocolError(f"InstallFd(at={self.at}): no such descriptor can exist")

    def fileno(self) -> int:
        """The supervisor's descriptor as a number."""
        fd: Any = self.fd
        if isinstance(fd, Content):
            raise LocalProtocolError(f"{self} has no descriptor yet: it is made when it is sent")
        return fd if isinstance(fd, int) else int(fd.fileno())


PlainReply: TypeAlias = Return | Fail | Continue
"""A reply that one SEND carries."""

Reply: TypeAlias = Return | Fail | Continue | InstallFd
"""The closed union of replies."""
