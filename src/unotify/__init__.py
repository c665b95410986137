"""unotify: the system-call supervisor for Linux.

This is the friendly face: re-exports only. Where things live:

* `unotify.calls`: a typed class for each system call.
* `unotify.abi`: the kernel's numbers, flags and the call model.
* `unotify.aio`: the supervisor in an asyncio event loop.
* `unotify.lowlevel`: listeners and filters without a supervisor; sharp.
* `unotify.errors`: every exception.

Names are loaded when first used, so that ``import unotify`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unotify.errors import (
        AlreadySupervised,
        BadAddress,
        Conflict,
        Error,
        FilterTooLarge,
        HandlerFault,
        InvalidPolicy,
        KernelError,
        KernelProtocolError,
        LocalProtocolError,
        NotExpressible,
        PathTooLong,
        PolicyError,
        ProtocolError,
        RacyContinue,
        Refused,
        TargetError,
        TargetGone,
        UnknownName,
        Unsupported,
    )
    from unotify.protocol import Continue, Fail, InstallFd, Reply, Return
    from unotify.supervisor import (
        Counted,
        Held,
        Instrument,
        Quota,
        Statistics,
        Supervisor,
        Target,
        on,
        verb,
    )

__version__ = "0.1.0"

_HOMES = {
    "unotify.errors": (
        "AlreadySupervised",
        "BadAddress",
        "Conflict",
        "Error",
        "FilterTooLarge",
        "HandlerFault",
        "InvalidPolicy",
        "KernelError",
        "KernelProtocolError",
        "LocalProtocolError",
        "NotExpressible",
        "PathTooLong",
        "PolicyError",
        "ProtocolError",
        "RacyContinue",
        "Refused",
        "TargetError",
        "TargetGone",
        "UnknownName",
        "Unsupported",
    ),
    "unotify.protocol": ("Continue", "Fail", "InstallFd", "Reply", "Return"),
    "unotify.supervisor": (
        "Counted",
        "Held",
        "Instrument",
        "Quota",
        "Statistics",
        "Supervisor",
        "Target",
        "on",
        "verb",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AlreadySupervised",
    "BadAddress",
    "Conflict",
    "Continue",
    "Counted",
    "Error",
    "Fail",
    "FilterTooLarge",
    "HandlerFault",
    "Held",
    "InstallFd",
    "Instrument",
    "InvalidPolicy",
    "KernelError",
    "KernelProtocolError",
    "LocalProtocolError",
    "NotExpressible",
    "PathTooLong",
    "PolicyError",
    "ProtocolError",
    "Quota",
    "RacyContinue",
    "Refused",
    "Reply",
    "Return",
    "Statistics",
    "Supervisor",
    "Target",
    "TargetError",
    "TargetGone",
    "UnknownName",
    "Unsupported",
    "on",
    "verb",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'unotify' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
