"""Typed calls: a class for each call of the call model, made when first asked for.

``from unotify.calls import OpenAt`` makes the one class. The stub beside this
file lists all of them, for editors and type checkers.
"""

from __future__ import annotations

from typing import Any

from unotify.abi.hints import nearest
from unotify.calls.arguments import Argument
from unotify.calls.call import Call, UnknownCall, call_class, class_for, class_name, class_names
from unotify.calls.expressions import Condition, Where, as_where
from unotify.calls.paths import TargetPath
from unotify.calls.sockaddr import (
    Inet6Address,
    InetAddress,
    NetlinkAddress,
    OtherAddress,
    SocketAddress,
    UnixAddress,
    VsockAddress,
)

__all__ = [
    "Argument",
    "Call",
    "Condition",
    "Inet6Address",
    "InetAddress",
    "NetlinkAddress",
    "OtherAddress",
    "SocketAddress",
    "TargetPath",
    "UnixAddress",
    "UnknownCall",
    "VsockAddress",
    "Where",
    "as_where",
    "call_class",
    "class_for",
    "class_name",
]


def __getattr__(name: str) -> Any:
    call = class_names().get(name)
    if call is None:
        near = nearest(name, class_names())
        raise AttributeError(f"no call has the class name {name!r}" + (f"; {near}" if near else ""))
    globals()[name] = found = call_class(call)
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *class_names()})
