"""One JSON object for each call: what was asked, who decided, what was answered."""

from __future__ import annotations

import enum
import errno
import json
import sys
import threading
import time
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from unotify.calls import Call, TargetPath
from unotify.cli.failures import CommandError, Exit, complain
from unotify.errors import TargetError
from unotify.protocol import Continue, Fail, InstallFd, Reply, Return
from unotify.supervisor import Instrument

if TYPE_CHECKING:
    from unotify.supervisor.judging import Judgement

__all__ = ["CallLog", "describe_reply", "plain"]


class CallLog(Instrument):
    """Writes the calls to a file as JSON lines.

    The decoded arguments are the log's own look at the target's memory: what
    the kernel saw may differ if the target rewrote it meanwhile (C2).

    Args:
        file: Its name; ``-`` is standard error.

    Raises:
        CommandError: It cannot be written.
    """

    def __init__(self, file: str) -> None:
        self._name = file
        self._file: TextIO = sys.stderr
        if file != "-":
            try:
                self._file = Path(file).open("w", encoding="utf-8")  # noqa: SIM115 - closed on exit
            except OSError as error:
                message = f"cannot write log {file}: {error.strerror}"
                raise CommandError(message, Exit.USAGE) from None
        self._lock = threading.Lock()
        self._asked: dict[Call, dict[str, Any]] = {}
        self._judged: dict[Call, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not sys.stderr:
            with suppress(OSError):  # a full disk has been told before
                self._file.close()

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
        with self._lock:
            self._asked[call] = entry

    def replied(self, call: Call, reply: Reply, handler: str, nanoseconds: int) -> None:
        """Write the line."""
        self._write(call, {"reply": describe_reply(reply), "microseconds": nanoseconds / 1000})

    def gone(self, call: Call) -> None:
        """Write that nobody waited for the answer."""
        self._write(call, {"reply": {"gone": True}})

    def _write(self, call: Call, end: dict[str, Any]) -> None:
        with self._lock:
            entry = self._asked.pop(call, None) or _identity(call)
            entry |= self._judged.pop(call, {})
            if self._file.closed:
                return
            try:
                self._file.write(json.dumps(entry | end) + "\n")
                self._file.flush()
            except OSError as error:
                # Once: from now on there is no log, and the target goes on.
                complain(f"cannot write log {self._name}: {error.strerror}; the log ends here")
                with suppress(OSError):
                    self._file.close()


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
