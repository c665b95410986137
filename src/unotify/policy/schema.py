"""A JSON Schema of policy files, made of the tables that the loader uses.

Editors complete and check with it. It says what a file may look like; that names
in ``where`` exist, that an include can be read, and the like, only `load` knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.policy.actions import ACTIONS, ERRNOS, Action, Parameter
from unotify.policy.fields import ENDINGS, RULE, SET_NAME, TOP, VERDICTS, Field
from unotify.policy.groups import GROUPS
from unotify.policy.installing import FLAGS, LISTENER
from unotify.policy.model import Verb
from unotify.policy.reading import VERSION
from unotify.policy.selecting import ITEM
from unotify.policy.verbs import VERBS, Plain

__all__ = ["schema"]

_TEXT: Final = {"type": "string", "pattern": r"\S"}


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12, as an object for `json.dumps`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "unotify policy",
        "description": "Rules for system calls; the first that matches decides.",
        **_table(TOP),
        "$defs": {
            "version": {"const": VERSION},
            "architectures": _one_or_more(
                {"enum": ["native", "compat", *(arch.label for arch in Arch)]}
            ),
            "default": {"anyOf": _verdicts(VERDICTS)},
            "ending": {"anyOf": _verdicts(ENDINGS)},
            "do": {
                "anyOf": [
                    *_verdicts(frozenset(Verb)),
                    *(form for action in ACTIONS.values() for form in _action(action)),
                ]
            },
            "flags": _any_number(
                {
                    "anyOf": [
                        {"const": name, "description": flag.description}
                        for name, flag in FLAGS.items()
                    ]
                }
            ),
            "listener": {
                "type": "object",
                "additionalProperties": False,
                "required": ["path"],
                "properties": {
                    key: {"type": "string", "minLength": 1, "description": description}
                    for key, description in LISTENER.items()
                },
            },
            "include": {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "items": {"type": "string", "minLength": 1}},
                ]
            },
            "sets": {
                "type": "object",
                "propertyNames": {"pattern": f"^{SET_NAME}$"},
                "additionalProperties": {
                    "type": "array",
                    "minItems": 1,
                    "anyOf": [{"items": {"type": "string"}}, {"items": {"type": "integer"}}],
                },
            },
            "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
            "rule": {
                **_table(RULE),
                "if": {"properties": {"racy": {"const": True}}, "required": ["racy"]},
                "then": {"required": ["because"]},
            },
            "name": _TEXT,
            "because": _TEXT,
            "where": _TEXT,
            "boolean": {"type": "boolean"},
            "calls": _one_or_more({"$ref": "#/$defs/call"}),
            "call": {
                "anyOf": [
                    {"enum": list(model.names())},
                    *(
                        {"const": name, "description": group.description}
                        for name, group in GROUPS.items()
                    ),
                    {"type": "string", "pattern": f"^{ITEM}$"},
                ]
            },
            "errno": {
                "anyOf": [
                    {"enum": list(ERRNOS)},
                    {"type": "integer", "minimum": 1, "maximum": 511},
                    {"type": "integer", "minimum": 532, "maximum": 4095},
                ]
            },
        },
    }


def _table(fields: Mapping[str, Field]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, field in fields.items() if field.required],
        "properties": {
            name: {"$ref": f"#/$defs/{field.kind}", "description": field.description}
            for name, field in fields.items()
        },
    }


def _any_number(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item}]}


def _one_or_more(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _verdicts(verbs: Iterable[Verb]) -> list[dict[str, Any]]:
    return [form for plain in VERBS.values() if plain.verb in verbs for form in _plain(plain)]


def _plain(plain: Plain) -> list[dict[str, Any]]:
    name = plain.verb.value
    forms: list[dict[str, Any]] = []
    if not plain.needed:
        forms.append({"const": name, "description": plain.description})
    if plain.parameter is not None:
        forms.append(_tagged(name, plain.description, [_parameter(plain.parameter)]))
    return forms


def _action(action: Action) -> list[dict[str, Any]]:
    table: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _parameter(parameter) for name, parameter in action.parameters.items()
        },
    }
    if action.one_of:
        table["anyOf"] = [{"required": [name]} for name in action.one_of]
    values = [table]
    if action.main is not None:
        values.append(_parameter(action.parameters[action.main]))
    forms = [] if action.one_of else [{"const": action.name, "description": action.description}]
    return [*forms, _tagged(action.name, action.description, values)]


def _tagged(name: str, description: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "required": [name],
        "properties": {name: values[0] if len(values) == 1 else {"anyOf": values}},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    said: dict[str, Any] = {"description": parameter.description}
    if parameter.example:
        said["examples"] = [parameter.example]
    match parameter.kind:
        case "string" if parameter.choices:
            return {"enum": list(parameter.choices), **said}
        case "string":
            return {**_text(parameter), "minLength": 1, **said}
        case "strings":
            return {"type": "array", "items": _text(parameter), "minItems": 1, **said}
        case "commands":
            command = {"type": "array", "items": {"type": "string"}, "minItems": 1}
            return {
                "type": "object",
                "additionalProperties": command,
                "minProperties": 1,
                **said,
            }
        case "lists":
            names = {"pattern": f"^({parameter.pattern})$"} if parameter.pattern else {}
            options = {"type": "array", "items": {"type": "string"}}
            return {
                "anyOf": [
                    {"type": "array", "items": _text(parameter), "minItems": 1},
                    {
                        "type": "object",
                        "propertyNames": names,
                        "additionalProperties": options,
                        "minProperties": 1,
                    },
                ],
                **said,
            }
        case "integer":
            limits = {"minimum": parameter.least, "maximum": parameter.most}
            return {"type": "integer", **limits, **said}
        case "boolean":
            return {"type": "boolean", **said}
        case _:
            return {"$ref": "#/$defs/errno", **said}


def _text(parameter: Parameter) -> dict[str, Any]:
    pattern = {"pattern": f"^({parameter.pattern})$"} if parameter.pattern else {}
    return {"type": "string", **pattern}
