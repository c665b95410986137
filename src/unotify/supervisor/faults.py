"""The one funnel from whatever goes wrong to the errno that the target gets.

Nothing in here returns `Continue`, and no other place turns an exception into a
reply. Three cases:

* A :exc:`TargetError` is an answer, not a fault: the handler, or something it
  called, found that the target asked for something impossible. It gets that
  errno. A target that has gone gets one too: if it really has gone nobody takes
  it, and if somebody raised :exc:`TargetGone` by mistake it must not hang.
* Everything else is a fault in a handler: the target gets the supervisor's
  fault reply (EPERM unless changed), the fault is logged, counted and shown to
  instruments.
* An exit or an interrupt is a fault too, and goes on upwards after the answer.
"""

from __future__ import annotations

import logging

from unotify.calls import Call
from unotify.errors import HandlerFault, LocalProtocolError, TargetError, Unsupported
from unotify.protocol import Continue, Fail, InstallFd, Return
from unotify.supervisor.holds import Held

__all__ = ["fault_of", "refusal_of", "require_reply"]

_log = logging.getLogger("unotify")


def refusal_of(error: BaseException) -> Fail | None:
    """The answer that *error* stands for, if it is one."""
    if isinstance(error, TargetError):
        try:
            return Fail(error.errno)
        except LocalProtocolError:
            return None
    return None


def fault_of(error: BaseException, call: Call, handler: str, reply: Fail | Return) -> HandlerFault:
    """Describe and log a handler's fault; *reply* is what the target gets instead."""
    if isinstance(error, TimeoutError) and not error.args:
        message = (
            f"handler {handler} did not answer {call.call_name or 'the call'} before its deadline"
        )
    else:
        what: object = error if isinstance(error, Unsupported) else repr(error)
        message = f"handler {handler} failed on {call.call_name or 'a call'}: {what}"
    fault = HandlerFault(message, call=call, handler=handler, reply=reply)
    fault.__cause__ = error
    if isinstance(error, Unsupported):
        # No bug of anybody's: what is missing, and what to do, is all there is to say.
        hint = f" ({error.hint})" if error.hint else ""
        _log.error("%s%s; the target gets %r", message, hint, reply)
    else:
        _log.error("%s; the target gets %r", message, reply, exc_info=error)
    return fault


def require_reply(reply: object, handler: str) -> None:
    """Refuse what a handler may not return.

    Raises:
        LocalProtocolError: *reply* is neither a reply nor a hold.
    """
    if not isinstance(reply, Return | Fail | Continue | InstallFd | Held):
        hint = None
        if isinstance(reply, int):
            hint = "wrap a value as Return(value) and an error as Fail(errno)"
        elif hasattr(reply, "__await__"):
            hint = "an async def handler needs unotify.aio"
        raise LocalProtocolError(f"{handler} returned {reply!r}, which is no reply", hint=hint)
