"""Sending a decided reply, and freeing what its call has used."""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from unotify.calls import Call
from unotify.errors import KernelError, TargetGone
from unotify.protocol import Content, Exchange, Fail, InstallFd, Reply
from unotify.protocol.codec import pad_response

if TYPE_CHECKING:
    from unotify.supervisor.sources import Source

__all__ = ["deliver", "dispose", "free", "note"]

_log = logging.getLogger("unotify")


def deliver(source: Source, exchange: Exchange, reply: Reply) -> bool:
    """Send *reply*, a descriptor in two steps (A14); False if nobody was there to take it."""
    if isinstance(reply, InstallFd) and isinstance(reply.fd, Content):
        with source.kernel.memory_file(reply.fd.data, sealed=reply.fd.sealed) as file:
            return deliver(source, exchange, replace(reply, fd=file.fileno(), owned=False))
    listener = source.listener
    if isinstance(reply, InstallFd):
        request = exchange.install(reply)
        try:
            number = listener.add_fd(request.id, request.fd, at=request.at, cloexec=request.cloexec)
        except TargetGone:
            exchange.vanish()
            return False
        except KernelError as error:
            if error.errno == errno.EBADF and request.at is None:
                raise  # A5: our own descriptor is closed or O_PATH; the handler must know
            # EMFILE, EBADF: its own limits (A7); it hears of them as from any open().
            response = exchange.answer(Fail(error.errno or errno.EPERM))
        else:
            response = exchange.installed(number if reply.result is None else reply.result)
        # Before the target goes on: it may count on being the only one who has it open.
        _close_owned(reply)
    else:
        response = exchange.answer(reply)
    try:
        taken = listener.send(pad_response(response, listener.sizes))
    except Exception:
        exchange.refused()
        raise
    if not taken:
        exchange.vanish()
    return taken


def note(call: Call, reply: Reply) -> None:
    """Note that the target took *reply*: what was done for a success stays done."""
    if call.opened is not None and type(reply) is not Fail:
        call.opened.succeeded = True


def dispose(reply: Reply, call: Call) -> None:
    """Free what a call has used: a descriptor that was handed over, the opened target."""
    if isinstance(reply, InstallFd):
        _close_owned(reply)
    free(call)


def free(call: Call) -> None:
    """Close what *call* has opened of its target."""
    if call.opened is not None:
        call.opened.close()


def _close_owned(reply: InstallFd) -> None:
    """Close the descriptor of an `InstallFd` that is owned, which it then is no more."""
    if not reply.owned:
        return
    object.__setattr__(reply, "owned", False)
    try:
        if isinstance(reply.fd, int):
            os.close(reply.fd)
        else:
            close = getattr(reply.fd, "close", None)
            if close is not None:
                close()
    except Exception:
        _log.exception("the descriptor of %r could not be closed", reply)
