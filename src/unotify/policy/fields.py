"""The keys of a policy file: what the loader takes and the schema says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from unotify.policy.model import Verb

__all__ = ["ENDINGS", "RULE", "SET_NAME", "TOP", "VERDICTS", "Field"]

SET_NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]*"


@dataclass(frozen=True, slots=True)
class Field:
    """One key.

    Attributes:
        kind: Which definition of the schema its value follows.
        description: What it says.
        example: A value, as TOML.
        required: Whether it must be there.
    """

    kind: str
    description: str
    example: str
    required: bool = False


TOP: Final[Mapping[str, Field]] = MappingProxyType(
    {
        "version": Field("version", "The version of the language.", "1", True),
        "default": Field(
            "default", "What happens to a call that no rule matches.", '{ fail = "EPERM" }'
        ),
        "architectures": Field(
            "architectures",
            "The ABIs whose calls are looked at: native, compat (the 32-bit one beside it), "
            "or their names. Without it native and compat.",
            '["native"]',
        ),
        "bad-architecture": Field(
            "ending",
            "What happens to a call of another ABI; kill-process without it.",
            '"kill-thread"',
        ),
        "unknown": Field(
            "ending",
            "What happens to a call whose number no table knows; ENOSYS without it.",
            '"kill-process"',
        ),
        "flags": Field(
            "flags",
            "Flags to install the filter with.",
            '["log"]',
        ),
        "listener": Field(
            "listener",
            "Who is given the listener, where a container runtime installs the filter.",
            '{ path = "/run/agent.sock" }',
        ),
        "include": Field(
            "include",
            "Other policies: their rules come before these, and their sets and settings count, "
            "also in their own rules, where this file has none of that name.",
            '"base.toml"',
        ),
        "sets": Field(
            "sets",
            "Named lists of calls, addresses, paths, other strings or numbers.",
            '{ secrets = ["/etc/shadow"] }',
        ),
        "rule": Field("rules", "The rules; the first that matches decides.", "[]"),
    }
)
"""What may stand at the top of a file."""

RULE: Final[Mapping[str, Field]] = MappingProxyType(
    {
        "name": Field("name", "What messages and logs call it.", '"scratch mounts"'),
        "calls": Field(
            "calls",
            'The calls it is about: names, "@groups", "@own-sets", "get*"; "-name" takes away, '
            '"open@x86_64" is about one ABI.',
            '["@mount", "-umount2"]',
            True,
        ),
        "where": Field(
            "where",
            "When it matches, in the grammar of Python's expressions; always, without it.",
            '"flags & MS_BIND"',
        ),
        "do": Field("do", "What happens.", '{ fail = "EPERM" }', True),
        "log": Field("boolean", "Whether the supervisor sees and logs each match.", "true"),
        "racy": Field(
            "boolean",
            "Accept that the caller can change its memory after the look, and before the kernel "
            "reads it. Needs because.",
            "true",
        ),
        "because": Field("because", "Why this rule is there, or why its race is harmless.", '"x"'),
    }
)
"""What may stand in a rule."""

VERDICTS: Final = frozenset(Verb) - {Verb.CONTINUE, Verb.ACT}
"""What ``default`` may say."""

ENDINGS: Final = frozenset(VERDICTS - {Verb.NOTIFY, Verb.RETURN})
"""What may be said of calls that nobody can look at."""
