"""Mistakes that type checkers find; mypy complains of a comment here that silences nothing."""

import errno

from unotify import Continue, Fail, InstallFd, Reply, Return, Supervisor
from unotify.calls import Mount, OpenAt


def arguments(call: OpenAt, mount: Mount) -> None:
    """Names of other calls, and NULLs that nobody thought of."""
    print(call.source)  # type: ignore[attr-defined]
    mount.fstype.startswith("x")  # type: ignore[union-attr]
    call.path + 1  # type: ignore[operator]


def changes(call: OpenAt) -> None:
    """What the target asked for cannot be changed."""
    call.path = "/other"  # type: ignore[assignment]


def replies() -> None:
    """Replies that are none, and the danger that has to be named."""
    Return("0")  # type: ignore[arg-type]
    Fail(errno="EPERM")  # type: ignore[arg-type]
    Continue(0)  # type: ignore[call-arg]
    Continue.racy()  # type: ignore[call-arg]
    InstallFd()  # type: ignore[call-arg]
    reply: Reply = errno.EPERM  # type: ignore[assignment]
    del reply


def supervisors(supervisor: Supervisor) -> None:
    """Options that do not exist, and answers that may not be configured beforehand."""
    Supervisor(unhandled=Continue())  # type: ignore[arg-type]
    Supervisor(deadlines=1)  # type: ignore[call-arg]
    supervisor.on(OpenAt, where=lambda call: True)  # type: ignore[arg-type]
    supervisor.add_verb("answer", 42)  # type: ignore[arg-type]
