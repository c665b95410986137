"""What may stand after ``do``: the verbs, and what they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from unotify.abi.hints import nearest
from unotify.abi.refusals import REASONS
from unotify.errors import PolicyError, UnknownName
from unotify.policy.actions import ACTIONS, ERRNOS, KINDS, Action, Parameter
from unotify.policy.model import Verb, Verdict
from unotify.policy.problems import kind_of, listed, shown

__all__ = ["VERBS", "Plain", "verdict"]


@dataclass(frozen=True, slots=True)
class Plain:
    """A verb of the language itself.

    Attributes:
        verb: Which.
        description: What it does, for the schema.
        parameter: What it takes, or ``None``: nothing.
        needed: Whether it must be given.
    """

    verb: Verb
    description: str
    parameter: Parameter | None = None
    needed: bool = False


_DATA: Final = Parameter("integer", "what the receiver is told", most=0xFFFF)

VERBS: Final[Mapping[str, Plain]] = MappingProxyType(
    {
        plain.verb.value: plain
        for plain in (
            Plain(Verb.ALLOW, "the call goes on"),
            Plain(
                Verb.DENY,
                "fail with the error that programs expect of that call",
                Parameter("string", "why, where that decides the error", tuple(REASONS)),
            ),
            Plain(
                Verb.FAIL,
                "fail with this error",
                Parameter("errno", "its name, or its number"),
                needed=True,
            ),
            Plain(
                Verb.RETURN,
                "succeed with this value, without doing anything",
                Parameter("integer", "what the caller gets"),
                needed=True,
            ),
            Plain(Verb.KILL_PROCESS, "end the process with SIGSYS"),
            Plain(Verb.KILL_THREAD, "end the thread with SIGSYS"),
            Plain(Verb.TRAP, "send the caller SIGSYS, which it may handle", _DATA),
            Plain(Verb.TRACE, "tell a tracer; ENOSYS without one", _DATA),
            Plain(Verb.LOG, "the call goes on, and the kernel's audit log has it"),
            Plain(Verb.CONTINUE, "the supervisor lets the call go on"),
            Plain(Verb.NOTIFY, "Python handlers, or whoever holds the listener, decide"),
        )
    }
)
"""The verbs that need no handler."""


def verdict(value: object, *, what: str = "do") -> Verdict:
    """Read what stands after ``do``: a verb, or a table of one verb and what it takes.

    Args:
        value: As `tomllib` reads it.
        what: The key, for messages.

    Raises:
        UnknownName: There is no such verb, or it has no such parameter.
        PolicyError: It takes something else.
    """
    match value:
        case str():
            return _verdict(value, None, given=False)
        case dict() if len(value) == 1:
            ((name, parameter),) = value.items()
            return _verdict(str(name), parameter, given=True)
        case dict():
            raise PolicyError(
                f"{what} takes one verb, not {listed(map(shown, value)) or 'none'}",
                hint='such as { fail = "EPERM" }; what to do next is another rule\'s',
            )
    raise PolicyError(
        f"{what} takes a verb, not {kind_of(value)}", hint='such as "allow" or { fail = "EPERM" }'
    )


def _verdict(name: str, value: object, *, given: bool) -> Verdict:
    if name in ACTIONS:
        return _act(ACTIONS[name], value, given=given)
    plain = VERBS.get(name)
    if plain is None:
        if name.upper() in ERRNOS and not given:
            hint: str | None = f'write {{ fail = "{name.upper()}" }}'
        else:
            hint = nearest(name, [*VERBS, *ACTIONS])
        raise UnknownName(
            f"no verb is named {shown(name)}", hint=hint or f"there are {listed(VERBS)}"
        )
    parameter = plain.parameter
    if parameter is None:
        if given:
            raise PolicyError(f'"{name}" takes nothing', hint=f'write "{name}"')
        return Verdict(plain.verb)
    if not given:
        if plain.needed:
            example = '"EPERM"' if plain.verb is Verb.FAIL else "0"
            raise PolicyError(
                f'"{name}" takes {KINDS[parameter.kind]}',
                hint=f"write {{ {name} = {example} }}",
            )
        return Verdict(plain.verb)
    _check(name, parameter, value)
    match plain.verb, value:
        case Verb.FAIL, str():
            return Verdict(Verb.FAIL, errno=ERRNOS[value])
        case Verb.FAIL, int():
            return Verdict(Verb.FAIL, errno=value)
        case Verb.DENY, str():
            return Verdict(Verb.DENY, why=value)
        case _, int():
            return Verdict(plain.verb, value=value)
    raise AssertionError((plain, value))


def _check(name: str, parameter: Parameter, value: object) -> None:
    problem = parameter.problem(value)
    if problem is None:
        return
    what, hint = problem
    if name == Verb.RETURN.value and isinstance(value, int) and value < 0:
        hint = 'a call that fails is { fail = "EPERM" }'
    raise PolicyError(f'"{name}" {what}', hint=hint)


def _shape(action: Action) -> str:
    return '"..."' if action.parameters[action.one_of[-1]].kind == "string" else '["..."]'


def _act(action: Action, value: object, *, given: bool) -> Verdict:
    if given and not isinstance(value, dict) and action.main is not None:
        value = {action.main: value}
    if given and not isinstance(value, dict):
        keys = listed(action.parameters, "or")
        raise PolicyError(
            f'"{action.name}" takes {f"a table with {keys}" if keys else "nothing"}, '
            f"not {kind_of(value)}",
            hint=f'write "{action.name}" without anything' if not action.one_of else None,
        )
    parameters: dict[str, object] = value if isinstance(value, dict) else {}
    for key, part in parameters.items():
        if key not in action.parameters:
            raise UnknownName(
                f'"{action.name}" has no {shown(key)}',
                hint=nearest(key, action.parameters)
                or (
                    f"it has {listed(action.parameters)}"
                    if action.parameters
                    else "it takes nothing"
                ),
            )
        _check(f"{action.name}.{key}", action.parameters[key], part)
    if action.one_of and not any(key in parameters for key in action.one_of):
        raise PolicyError(
            f'"{action.name}" takes {listed(action.one_of, "or")}',
            hint=f"such as {{ {action.name} = {{ {action.one_of[-1]} = {_shape(action)} }} }}",
        )
    wrong = action.together(dict(parameters))
    if wrong is not None:
        raise PolicyError(f'"{action.name}": {wrong}')
    return Verdict(Verb.ACT, handler=action.name, parameters=MappingProxyType(dict(parameters)))
