"""Calls as JSON: what was asked, who decided, what was answered."""

from __future__ import annotations

import enum
import errno
import threading
import time
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from unotify.calls import Call, TargetPath
from unotify.errors import TargetError
from unotify.protocol import Continue, Fail, InstallFd, Reply, Return
from unotify.supervisor.instruments import Instrument

if TYPE_CHECKING:
    from unotify.supervisor.judging import Judgement

__all__ = ["CallTelling", "describe_reply", "plain"]


class CallTelling(Instrument):
    """Makes one entry of each call; whoever overrides `tell` does something with it.

    The decoded arguments are a look of its own at the target's memory: what the kernel saw may
    differ if the target rewrote it meanwhile (C2).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Call, dict[str, Any]] = {}
        self._judged: dict[Call, dict[str, Any]] = {}

    def tell(self, entry: dict[str, Any]) -> None:
        """Do something with an entry; called by one thread at a time."""

    def more(self, call: Call) -> dict[str, Any]:
        """What else to say of a call, while its target still waits."""
        return {}

    def judged(self, call: Call, judgement: Judgement) -> None:
        """Note what a policy said: the last time it did is what counts."""
        entry = {
            "policy": judgement.policy.source,
            "rule": None if judgement.rule is None else judgement.rule.name,
            "line": None if judgement.rule is None else judgement.rule.place.line,
            "verdict": str(judgement.verdict),
        }
        if judgement.dry_run:
            entry["dry_run"] = True
            entry["decided"] = "kernel" if judgement.by_kernel else "supervisor"
        with self._lock:
            self._judged[call] = entry

    def deciding(self, call: Call, reply: Reply, handler: str) -> None:
        """Look at the arguments while the target still waits."""
        entry = _identity(call)
        with suppress(TargetError, OSError):
            entry["pid"], entry["comm"] = call.caller.pid, call.caller.comm
        entry["args"] = {name: plain(value) for name, value in call.describe().items()}
        entry["handler"] = handler
        entry |= self.more(call)
        with self._lock:
            self._asked[call] = entry

    def replied(self, call: Call, reply: Reply, handler: str, nanoseconds: int) -> None:
        """Tell it."""
        self._finish(call, {"reply": describe_reply(reply), "microseconds": nanoseconds / 1000})

    def gone(self, call: Call) -> None:
        """Tell that nobody waited for the answer."""
        self._finish(call, {"reply": {"gone": True}})

    def _finish(self, call: Call, end: dict[str, Any]) -> None:
        with self._lock:
            entry = self._asked.pop(call, None) or _identity(call)
            entry |= self._judged.pop(call, {})
            self.tell(entry | end)


def _identity(call: Call) -> dict[str, Any]:
    # What is known of every call, and the keys that every line has.
    number = {} if call.call_name else {"nr": call.exchange.nr}
    return {
        "time": round(time.time(), 6),
        "pid": None,
        "tid": call.exchange.tid,
        "comm": None,
        "call": call.call_name or None,
        **number,
        "arch": call.arch.label,
        "args": None,
        "handler": None,
        "reply": None,
        "microseconds": None,
    }


def describe_reply(reply: Reply) -> dict[str, Any]:
    """The reply as JSON: ``{"fail": "EPERM"}``, ``{"return": 0}`` and so on."""
    match reply:
        case Fail(number):
            return {"fail": errno.errorcode.get(number, str(number))}
        case Return(value):
            return {"return": value}
        case Continue(because=None):
            return {"continue": True}
        case Continue(because=reason):
            return {"continue": True, "racy": reason}
        case InstallFd(at=at, cloexec=cloexec):
            return {"install_fd": {"at": at, "cloexec": cloexec}}


def plain(value: object) -> Any:
    """A decoded argument as JSON."""
    match value:
        case None | bool() | str():
            return value
        case enum.IntFlag():
            return value.name or (hex(value) if value else 0)
        case enum.Enum():
            return value.name
        case int():
            return int(value)
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case TargetPath():
            return value.raw.decode("utf-8", "backslashreplace")
        case IPv4Address() | IPv6Address():
            return str(value)
        case TargetError():
            return {"unreadable": errno.errorcode.get(value.errno, str(value.errno))}
        case list():
            return [plain(item) for item in value]
        case tuple():
            fields = getattr(value, "_fields", None)
            if fields is None:
                return [plain(item) for item in value]
            return {name: plain(getattr(value, name)) for name in fields}
        case _ if hasattr(value, "__dataclass_fields__"):
            return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
        case _:
            return str(value)
