"""Draw the tables of calls that can be performed, and that cannot, for the documentation.

All of it comes from the model of calls and from what the code itself asks.

Usage: python -m tools.draw_acts DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from unotify.abi import model
from unotify.abi.model import Role
from unotify.calls.acts import CREATING, act_of, performable, writes
from unotify.policy.performing import unperformable

ADDRESSES = (Role.SOCKADDR, Role.MSGHDR, Role.MMSGHDR)
WAITING = frozenset({"openat", "connect", "sendmsg"})
SHOWN = 24
"""How many calls of one reason are named."""


def code(names: Iterator[str] | list[str]) -> str:
    """Names in code letters."""
    return ", ".join(f"`{name}`" for name in names)


def redirected(call: str) -> str:
    """What a redirect can replace of *call*."""
    roles = [arg.role for arg in model.spec(call).args]
    paths = roles.count(Role.PATH)
    if paths:
        return "path" if paths == 1 else "paths"
    return "address" if any(role in ADDRESSES for role in roles) else ""


def notes(act: str, calls: list[str]) -> str:
    """What is special about an act."""
    found = []
    if act in CREATING:
        found.append("umask")
    if any(map(writes, calls)):
        only = [call for call in calls if writes(call)]
        found.append("answer in memory" + ("" if only == calls else f" ({code(only)})"))
    if act in WAITING:
        found.append("may wait")
    if any(model.spec(call).returns == "fd" for call in calls):
        found.append("gives a descriptor")
    return ", ".join(found)


def performed() -> str:
    """A Markdown table: a row for each act."""
    acts: dict[str, list[str]] = {}
    for call in performable():
        acts.setdefault(act_of(call) or "", []).append(call)
    lines = ["| calls | done by | redirect | |", "|---|---|---|---|"]
    for act, calls in acts.items():
        lines.append(f"| {code(calls)} | `{act}` | {redirected(calls[0])} | {notes(act, calls)} |")
    return "\n".join(lines) + "\n"


def refused() -> str:
    """A Markdown table: a row for each reason."""
    reasons: dict[str, list[str]] = {}
    for call in sorted(model.names()):
        reason = unperformable(call)
        if reason is not None:
            reasons.setdefault(reason, []).append(call)
    lines = ["| reason | calls |", "|---|---|"]
    for reason, calls in sorted(reasons.items(), key=lambda item: len(item[1])):
        more = f" and {len(calls) - SHOWN} more" if len(calls) > SHOWN else ""
        lines.append(f"| {reason} | {code(calls[:SHOWN])}{more} |")
    return "\n".join(lines) + "\n"


def write(directory: Path) -> None:
    """Write the files that docs/perform.md includes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "performed.md").write_text(performed())
    (directory / "not-performed.md").write_text(refused())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
