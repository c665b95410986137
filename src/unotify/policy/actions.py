"""The verbs that handlers carry out, and what they may be given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from unotify.abi import model
from unotify.abi.model import Role
from unotify.errors import Conflict, PolicyError
from unotify.policy import redirections
from unotify.policy.action import ERRNOS, KINDS, Action, Parameter
from unotify.policy.handled import HANDLED
from unotify.policy.model import Policy, Verb, Verdict
from unotify.policy.performing import unperformable
from unotify.policy.problems import listed

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
        *HANDLED,
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
