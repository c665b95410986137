"""One call for one handler, and what is expected of its reply."""

from __future__ import annotations

import errno
from typing import Any, TypeVar, overload

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action, FilterFlag
from unotify.bpf.instructions import Instruction, Op, Program
from unotify.calls import Call
from unotify.calls.call import decode
from unotify.errors import NotExpressible
from unotify.protocol import Content, Continue, Exchange, Fail, InstallFd, Reply, Return
from unotify.supervisor.target import Target
from unotify.testing.kernel import SimulatedKernel

__all__ = ["assert_reply", "make_call"]

C = TypeVar("C", bound=Call)

_NOTIFY_ALL = Program((Instruction(Op.RET_K, 0, 0, int(Action.USER_NOTIF)),))


@overload
def make_call(
    call: type[C],
    *args: Any,
    kernel: SimulatedKernel | None = None,
    arch: Arch | None = None,
    **named: Any,
) -> C: ...
@overload
def make_call(
    call: str,
    *args: Any,
    kernel: SimulatedKernel | None = None,
    arch: Arch | None = None,
    **named: Any,
) -> Any: ...
def make_call(
    call: str | type[Call],
    *args: Any,
    kernel: SimulatedKernel | None = None,
    arch: Arch | None = None,
    **named: Any,
) -> Any:
    """Make a typed call that a target waits in, received and ready for a handler.

    Args:
        call: A class of :mod:`unotify.calls`, or the kernel's name: any call that has one.
        *args: Its arguments, as of :meth:`FakeTarget.begin`.
        kernel: Where; a new one if not given.
        arch: The ABI it is made by.
        **named: Arguments by name.

    Returns:
        The typed call. Its ``caller`` is a real :class:`unotify.Target`.

    Raises:
        UnknownName: There is no such call or argument.
        NotExpressible: An argument that no memory can be made of, or a call that passes all
            filters, as ``uprobe`` does since Linux 6.14.

    Example:
        >>> call = make_call("openat", path="/etc/passwd", flags=2)
        >>> call.path, call.flags
        (TargetPath('/etc/passwd'), <OpenFlags.O_RDWR: 2>)
    """
    kernel = SimulatedKernel() if kernel is None else kernel
    target, listener = kernel.target(_NOTIFY_ALL, flags=FilterFlag.WAIT_KILLABLE_RECV)
    target.start(call, *args, arch=arch, **named)
    if not target.waiting:
        raise NotExpressible(f"no filter ever sees {target.task.call}: it cannot be supervised")
    buffer = bytearray(listener.sizes.notif)
    assert listener.receive_into(buffer)

    def caller(exchange: Exchange) -> Target:
        return Target(exchange, kernel, listener, quiet=True)

    return decode(Exchange(buffer), caller)


def assert_reply(reply: Reply | None, expected: Reply | type[Any] | None) -> None:
    """Assert that a handler's *reply* is the *expected* one, and say in words what differs.

    Args:
        reply: What the handler returned, or `Supervised.reply`.
        expected: A reply; ``None`` for "not mine"; or a class such as ``Fail`` for any of it.
            Of `InstallFd.of_bytes` the content, the number and close-on-exec are compared.

    Raises:
        AssertionError: They differ.

    Example:
        >>> import errno
        >>> from unotify import Fail, Return
        >>> assert_reply(Fail(errno.EPERM), Fail(1))
        >>> assert_reply(Return(0), Fail(errno.EPERM))
        Traceback (most recent call last):
            ...
        AssertionError: expected EPERM, and it returns 0
    """
    if isinstance(expected, type):
        assert isinstance(reply, expected), f"expected any {expected.__name__}, and {_said(reply)}"
        return
    assert _key(reply) == _key(expected), f"expected {_meant(expected)}, and {_said(reply)}"


def _key(reply: Reply | None) -> Any:
    if isinstance(reply, InstallFd) and isinstance(reply.fd, Content):
        return "content", reply.fd.data, reply.at, reply.cloexec
    return reply


def _meant(reply: Reply | None) -> str:
    if reply is None:
        return "none"
    if isinstance(reply, Fail):
        return _errno(reply)
    if isinstance(reply, Return):
        return str(reply.value)
    return repr(reply)


def _said(reply: Reply | None) -> str:
    if reply is None:
        return "there is no reply"
    if isinstance(reply, Fail):
        return f"it fails with {_errno(reply)}"
    if isinstance(reply, Return):
        return f"it returns {reply.value}"
    if isinstance(reply, Continue):
        return "it is continued"
    return f"it is {reply!r}"


def _errno(reply: Fail) -> str:
    return errno.errorcode.get(reply.errno, str(reply.errno))
