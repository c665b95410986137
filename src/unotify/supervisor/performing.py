"""Acting for the target: perform, redirect and inject, as methods and as verbs of policies."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from unotify.abi.model import Role
from unotify.calls import Call
from unotify.calls.acts import Act, Replacement, plan, writes
from unotify.errors import KernelError
from unotify.kernel.interface import Done
from unotify.protocol import Fail, InstallFd, Reply, Return

if TYPE_CHECKING:
    from unotify.abi.types import Address

__all__ = ["VERBS", "perform"]


_SMALL: Final = (1 << 31) - 1
_ADDRESS: Final = ("address",)


class _Target(Protocol):
    def act(self, act: Act, *, pinned: Collection[str]) -> Done: ...
    def write(self, address: Address, data: bytes) -> None: ...
    def require_quiet(self) -> None: ...
    def fd_flags(self, fd: int) -> int: ...


def perform(
    call: Call, target: _Target, *, as_supervisor: bool, replaced: Mapping[str, Replacement]
) -> Reply:
    """Do *call* for *target*; see :meth:`unotify.calls.Call.perform`."""
    if writes(call.call_name):
        target.require_quiet()
    act = plan(call, replaced)
    if as_supervisor:
        act = replace(act, as_supervisor=True)
    if "address" in replaced and act.name == "connect":
        act = replace(act, values={**act.values, "fresh": 1})
    # The path of a unix socket is in no spot: it is a part of the address.
    pinned: Collection[str] = act.spots or _ADDRESS
    done = target.act(act, pinned=set(pinned) - replaced.keys() if replaced else pinned)
    if done.value < 0:
        failed = Fail(-done.value) if done.value > -4096 else Fail(errno.EIO)
        return failed if done.fd < 0 else _in_place(done.fd, act, target, failed)
    if act.returns_fd:
        if act.small and os.fstat(done.fd).st_size > _SMALL:
            os.close(done.fd)
            return Fail(errno.EOVERFLOW)
        return InstallFd(done.fd, cloexec=act.cloexec, owned=True)
    if done.fd >= 0:
        return _in_place(done.fd, act, target, 0)
    for name, data in done.outs.items():
        out = act.outs[name]
        target.write(out.address, out.answer.of(data))
    return Return(done.value)


def _in_place(fd: int, act: Act, target: _Target, result: int | Fail) -> InstallFd:
    """A socket of another family takes the number of the target's own, connected or soon so."""
    number = act.fds["fd"]
    try:
        cloexec = bool(target.fd_flags(number) & os.O_CLOEXEC)
        return InstallFd(fd, at=number, cloexec=cloexec, owned=True, result=result)
    except BaseException:
        os.close(fd)
        raise


def _perform(call: Call, parameters: Mapping[str, Any]) -> Reply:
    done: Reply = call.perform(as_supervisor=parameters.get("as") == "supervisor")
    return done


def _redirect(call: Call, parameters: Mapping[str, Any]) -> Reply:
    # Only now: whoever has no policy does not wait for it to be imported.
    from unotify.supervisor.redirecting import replacements

    done: Reply = call.caller.perform(
        call,
        as_supervisor=parameters.get("as") == "supervisor",
        replaced=replacements(call, parameters),
    )
    return done


def _inject(call: Call, parameters: Mapping[str, Any]) -> Reply:
    cloexec = _cloexec(call)
    if "path" in parameters:
        try:
            # Not to wait for the other end of a FIFO, nor to get a terminal.
            fd = os.open(parameters["path"], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.set_blocking(fd, True)
        except OSError as error:
            # The target did nothing wrong: it is the policy's file that is not there.
            raise KernelError(
                error.errno or errno.EIO, "open(2)", f"{parameters['path']}: {error.strerror}"
            ) from error
        return InstallFd(fd, cloexec=cloexec, owned=True)
    text = parameters.get("text", "")
    return InstallFd.of_bytes(text, sealed=parameters.get("sealed", True), cloexec=cloexec)


def _cloexec(call: Call) -> bool:
    """Whether the call asks for a descriptor that exec closes."""
    if call.call_name == "openat2":
        how: Any = call.how  # type: ignore[attr-defined]
        return bool(how.flags & os.O_CLOEXEC)
    # SOCK_CLOEXEC, EFD_CLOEXEC and the others are the same bit, wherever it stands.
    for spec in call.spec.args:
        if spec.name in ("flags", "type") and spec.role in (Role.FLAGS, Role.COMMAND, Role.INT):
            return bool(call.register(spec.name) & os.O_CLOEXEC)
    return False


Verb = Callable[[Any, Mapping[str, Any]], Any]

VERBS: Final[Mapping[str, Verb]] = MappingProxyType(
    {"perform": _perform, "redirect": _redirect, "inject": _inject}
)
"""The verbs of policies that every supervisor has a handler for."""
