"""What a policy says of its installation: the filter's flags, and who is given the listener."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from unotify.abi.hints import nearest
from unotify.abi.seccomp import FilterFlag
from unotify.errors import UnknownName
from unotify.policy.problems import kind_of, listed, shown
from unotify.policy.reading import Part

__all__ = ["FLAGS", "LISTENER", "Flag", "flags_of", "listener_of", "short"]

_PREFIX: Final = "SECCOMP_FILTER_FLAG_"


@dataclass(frozen=True, slots=True)
class Flag:
    """A filter flag that a policy may ask for.

    Attributes:
        full: The kernel's name, which profiles use.
        description: What it does.
    """

    full: str
    description: str


def short(full: str) -> str:
    """What the language calls the flag *full*."""
    return full.removeprefix(_PREFIX).lower().replace("_", "-")


FLAGS: Final[Mapping[str, Flag]] = MappingProxyType(
    {
        short(f"{_PREFIX}{flag.name}"): Flag(f"{_PREFIX}{flag.name}", description)
        for flag, description in (
            (FilterFlag.LOG, "the kernel's audit log has whatever is not allowed (4.14)"),
            (
                FilterFlag.SPEC_ALLOW,
                "do without the mitigation of speculative store bypass (4.17); of several "
                "policies all must say so",
            ),
            (FilterFlag.TSYNC, "all threads of the process get the filter"),
            (
                FilterFlag.WAIT_KILLABLE_RECV,
                "only fatal signals end a call that was received (5.19); tried anyway, and "
                "needed if it stands here",
            ),
        )
    }
)
"""The flags, by the names that the language has for them."""

LISTENER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "path": "The socket of the agent that a container runtime gives the listener to.",
        "metadata": "What that agent is told.",
    }
)
"""What ``listener`` takes: strings that are not empty."""


def flags_of(part: Part | None) -> tuple[str, ...]:
    """The kernel's names of the flags in *part*; says what is wrong there."""
    if part is None:
        return ()
    names = [part.value] if isinstance(part.value, str) else part.value
    if not isinstance(names, list):
        part.report.value(part.path, f"flags takes names, not {kind_of(names)}")
        return ()
    found: dict[str, None] = {}
    for at, name in enumerate(names):
        path = part.path if isinstance(part.value, str) else (*part.path, at)
        if isinstance(name, str) and name in FLAGS:
            found[FLAGS[name].full] = None
            continue
        hint = None
        if isinstance(name, str):
            near = short(name.upper().replace("-", "_"))
            hint = f'write "{near}"' if near in FLAGS else nearest(name, FLAGS)
        error = UnknownName(
            f"no filter flag is named {shown(name)}", hint=hint or f"there are {listed(FLAGS)}"
        )
        part.report.error(path, error)
    return tuple(found)


def listener_of(part: Part | None) -> tuple[str | None, str | None]:
    """The path and the metadata in *part*; says what is wrong there."""
    if part is None:
        return None, None
    table = part.value
    if not isinstance(table, dict):
        part.report.value(
            part.path,
            f"listener is a table, not {kind_of(table)}",
            hint='such as { path = "/run/agent.sock" }',
        )
        return None, None
    part.report.unknown_keys(part.path, table, LISTENER, "listener")
    found: dict[str, str] = {}
    for key in LISTENER:
        value = table.get(key)
        if isinstance(value, str) and value:
            found[key] = value
        elif value == "":
            hint = "say something, or leave it out"
            part.report.value((*part.path, key), f"{key} is empty", hint=hint)
        elif value is not None:
            part.report.value((*part.path, key), f"{key} is a string, not {kind_of(value)}")
    if "path" not in table:
        part.report.key(
            part.path, "listener does not say where", hint='such as path = "/run/agent.sock"'
        )
    return found.get("path"), found.get("metadata")
