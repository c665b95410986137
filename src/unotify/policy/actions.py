"""The verbs that handlers carry out, and what they may be given."""

from __future__ import annotations

import errno as errnos
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from unotify.abi import model
from unotify.abi.hints import nearest
from unotify.abi.model import Role
from unotify.errors import Conflict, PolicyError
from unotify.policy import redirections
from unotify.policy.model import Policy, Verb, Verdict
from unotify.policy.performing import unperformable
from unotify.policy.problems import kind_of, listed, shown

__all__ = [
    "ACTIONS",
    "ERRNOS",
    "KINDS",
    "Action",
    "Parameter",
    "handlers_missing",
    "misplaced",
    "register",
    "registered",
]

ERRNOS: Final[Mapping[str, int]] = MappingProxyType(
    {
        name: number
        for name, number in sorted(vars(errnos).items())
        if name.startswith("E") and isinstance(number, int) and 0 < number < 512
    }
)
"""The names of errors, and their numbers on this machine."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a verb may be given.

    Attributes:
        kind: ``string``, ``strings``, ``integer``, ``boolean`` or ``errno``.
        description: What it says, for the schema.
        choices: If not empty, the only values.
        least: For integers.
        most: For integers.
        example: One that is right.
    """

    kind: str
    description: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = (1 << 63) - 1
    example: str = ""

    def problem(self, value: object) -> tuple[str, str | None] | None:
        """What is wrong with *value*, and a hint; ``None`` if nothing is."""
        match self.kind:
            case "string" if isinstance(value, str):
                if self.choices and value not in self.choices:
                    hint = nearest(value, self.choices)
                    return f"takes {listed(self.choices, 'or')}, not {shown(value)}", hint
                return None if value or self.choices else ("takes a string that is not empty", None)
            case "strings" if isinstance(value, list) and all(isinstance(v, str) for v in value):
                return None if value else ("takes an array that is not empty", None)
            case "integer" if isinstance(value, int) and not isinstance(value, bool):
                if self.least <= value <= self.most:
                    return None
                return f"takes a number from {self.least} to {self.most}, not {shown(value)}", None
            case "boolean" if isinstance(value, bool):
                return None
            case "errno":
                return _errno_problem(value)
        return f"takes {KINDS[self.kind]}, not {kind_of(value)}", None


KINDS: Final = {
    "string": "a string",
    "strings": "an array of strings",
    "integer": "an integer",
    "boolean": "true or false",
    "errno": 'the name of an error, such as "EPERM", or its number',
}


def _errno_problem(value: object) -> tuple[str, str | None] | None:
    if isinstance(value, str):
        if value in ERRNOS:
            return None
        hint = nearest(value.upper(), ERRNOS) or '"EPERM" is what most programs understand'
        return f"knows no error {shown(value)}", hint
    if isinstance(value, int) and not isinstance(value, bool):
        # 512 to 531 mean something to the kernel itself (V5).
        if 1 <= value <= 4095 and value not in range(512, 532):
            return None
        return f"takes an error from 1 to 4095 and not 512 to 531, not {shown(value)}", None
    return f"takes {KINDS['errno']}, not {kind_of(value)}", None


@dataclass(frozen=True, slots=True)
class Action:
    """A verb that a handler carries out.

    Attributes:
        name: As a policy writes it.
        description: What it does, for the schema.
        parameters: What it may be given, by key.
        main: The parameter that a value other than a table stands for, or ``None``.
        one_of: At least one of these must be given.
        refuses: Why it cannot be done for a call, or ``None`` if it can.
        together: What is wrong with parameters that are right one by one, or ``None``.
    """

    name: str
    description: str
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    main: str | None = None
    one_of: tuple[str, ...] = ()
    refuses: Callable[[str, Mapping[str, Any]], str | None] = lambda call, given: None
    together: Callable[[dict[str, object]], str | None] = lambda given: None


def _only(*calls: str) -> Callable[[str, Mapping[str, Any]], str | None]:
    def refuses(call: str, given: Mapping[str, Any]) -> str | None:
        return None if call in calls else f"it is about {listed(calls)} only"

    return refuses


def _redirects(call: str, given: Mapping[str, Any]) -> str | None:
    roles = {arg.role for arg in model.spec(call).args}
    if "path" in given and Role.PATH not in roles:
        return "it takes no path"
    if "address" in given and not roles & {Role.SOCKADDR, Role.MSGHDR, Role.MMSGHDR}:
        return "it takes no address"
    return unperformable(call)


def _injects(call: str, given: Mapping[str, Any]) -> str | None:
    return None if model.spec(call).returns == "fd" else "it returns no descriptor"


_AS: Final = Parameter("string", "whose rights are used", ("target", "supervisor"))

_XATTR: Final = ("setxattr", "lsetxattr", "fsetxattr", "setxattrat")
_OWNERS: Final = (
    *("chown", "chown32", "lchown", "lchown32", "fchown", "fchown32", "fchownat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "mknod", "mknodat", "statx"),
    *("stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "newfstatat", "fstatat64"),
)

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            "perform",
            "the supervisor does the call itself, with its own copy of the arguments",
            {"as": _AS},
            refuses=lambda call, given: unperformable(call),
        ),
        Action(
            "redirect",
            "perform with another path or address",
            {
                "path": Parameter("string", "the path to use instead"),
                "from": Parameter("string", "the directory that path stands for"),
                "address": Parameter(
                    "string",
                    "where to instead: IP:PORT, IP, :PORT, :PORT-PORT, unix:/PATH",
                    example="127.0.0.1:8000-8099",
                ),
                "ports": Parameter(
                    "string", "the ports that those of address stand for", example="1-100"
                ),
                "as": _AS,
            },
            one_of=("path", "address"),
            refuses=_redirects,
            together=redirections.problem,
        ),
        Action(
            "inject",
            "the call returns a descriptor of this content",
            {
                "text": Parameter("string", "the content"),
                "path": Parameter("string", "a file of the supervisor to open for reading"),
                "sealed": Parameter("boolean", "whether nobody can write to it; true by default"),
            },
            main="text",
            one_of=("text", "path"),
            refuses=_injects,
        ),
        Action(
            "load-module",
            "load the host's own module of that name",
            {"command": Parameter("strings", "what loads it; modprobe by default")},
            refuses=_only("init_module", "finit_module"),
        ),
        Action(
            "fake-ownership",
            "remember owners, modes and devices instead of setting them",
            {"store": Parameter("string", "a file that keeps them from run to run")},
            refuses=_only(*_OWNERS),
        ),
        Action(
            "emulate-mknod",
            "make the device nodes that are listed",
            {"devices": Parameter("strings", "such as c:1:3, c:5:*")},
            refuses=_only("mknod", "mknodat"),
        ),
        Action(
            "emulate-mount",
            "mount the file systems that are listed",
            {
                "file-systems": Parameter("strings", "such as tmpfs, overlay"),
                "devices": Parameter("strings", "block devices that may be mounted"),
            },
            refuses=_only("mount"),
        ),
        Action(
            "emulate-umount",
            "unmount what is not protected",
            {"protected": Parameter("strings", "mount points that stay")},
            refuses=_only("umount", "umount2"),
        ),
        Action(
            "emulate-xattr",
            "set the extended attributes that are listed",
            {"names": Parameter("strings", "such as trusted.overlay.*")},
            refuses=_only(*_XATTR),
        ),
        Action(
            "emulate-sysinfo",
            "answer with the limits of the caller's cgroup",
            refuses=_only("sysinfo"),
        ),
    )
}
"""The verbs that handlers carry out; those of later rooms are added by `register`."""

_registered: set[str] = {"perform", "redirect", "inject"}


def register(action: Action) -> None:
    """Say that there is a handler for a verb; a new verb becomes known.

    Raises:
        Conflict: The language itself has a verb of that name.
    """
    if action.name in {verb.value for verb in Verb if verb is not Verb.ACT}:
        raise Conflict(f"{action.name} is a verb of the language itself")
    ACTIONS[action.name] = action
    _registered.add(action.name)


def registered() -> frozenset[str]:
    """The verbs that there are handlers for."""
    return frozenset(_registered)


def handlers_missing(
    policy: Policy, *, have: Collection[str] | None = None
) -> tuple[PolicyError, ...]:
    """One error for each rule whose verb has no handler.

    Args:
        policy: Whose rules.
        have: The verbs that have one; those that are registered if not given.
    """
    have = registered() if have is None else have
    found = []
    for rule in policy.rules:
        name = rule.verdict.handler
        if name is not None and name not in have:
            place = rule.place
            found.append(
                PolicyError(
                    f'nothing here carries out "{name}", which {rule} wants',
                    source=place.source or policy.source,
                    line=place.line,
                    column=place.column,
                    hint='do = "notify", and a handler of your own (--handlers), can do it',
                )
            )
    return tuple(found)


_SHOWN: Final = 3


def misplaced(verdict: Verdict, calls: Iterable[str]) -> PolicyError | None:
    """Why *verdict* cannot be carried out for some of *calls*, or ``None`` if it can."""
    action = ACTIONS.get(verdict.handler or "")
    if action is None:
        return None
    reasons: dict[str, list[str]] = {}
    for call in sorted(calls):
        reason = action.refuses(call, verdict.parameters)
        if reason is not None:
            reasons.setdefault(reason, []).append(call)
    if not reasons:
        return None
    said = [f"{_some(found)}: {reason}" for reason, found in reasons.items()]
    first = next(iter(reasons.values()))[0]
    return PolicyError(
        f'"{action.name}" cannot be done for {"; ".join(said)}',
        hint=f'leave it out ("-{first}" at the end of calls), and say in another rule what '
        "happens to it: allow, deny, or notify with a handler of your own",
    )


def _some(calls: Sequence[str]) -> str:
    if len(calls) <= _SHOWN:
        return listed(calls)
    return f"{', '.join(calls[:_SHOWN])} and {len(calls) - _SHOWN} more"
