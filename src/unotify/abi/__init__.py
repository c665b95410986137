"""Facts: the kernel's numbers, flags, struct layouts, architectures, and the call model. No I/O.

Names are loaded when first used, so importing this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unotify.abi.arch import Arch
    from unotify.abi.features import Feature
    from unotify.abi.model import ArgSpec, CallSpec, Role, spec
    from unotify.abi.seccomp import Action, FilterFlag, ListenerFlag
    from unotify.abi.tables import CallId, identify, name, names, number, numbers
    from unotify.abi.types import Address, NotificationId, Tid

_HOMES = {
    "arch": ("Arch",),
    "features": ("Feature",),
    "model": ("ArgSpec", "CallSpec", "Role", "spec"),
    "seccomp": ("Action", "FilterFlag", "ListenerFlag"),
    "tables": ("CallId", "identify", "name", "names", "number", "numbers"),
    "types": ("Address", "NotificationId", "Tid"),
}
_HOME = {name: home for home, members in _HOMES.items() for name in members}

__all__ = [
    "Action",
    "Address",
    "Arch",
    "ArgSpec",
    "CallId",
    "CallSpec",
    "Feature",
    "FilterFlag",
    "ListenerFlag",
    "NotificationId",
    "Role",
    "Tid",
    "identify",
    "name",
    "names",
    "number",
    "numbers",
    "spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unotify.abi' has no attribute {name!r}")
    value = getattr(import_module(f"unotify.abi.{_HOME[name]}"), name)
    globals()[name] = value
    return value
