"""The JSON Schema takes what the loader takes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from unotify.errors import InvalidPolicy
from unotify.policy.actions import ACTIONS, Action, Parameter
from unotify.policy.fields import RULE, TOP
from unotify.policy.groups import GROUPS
from unotify.policy.loader import load
from unotify.policy.schema import schema
from unotify.policy.verbs import VERBS, verdict

SCHEMA = schema()
EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "policies").glob("*.toml"))
BROKEN = sorted((Path(__file__).parent / "broken").glob("*.toml"))

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
}
KNOWN = {
    *("$schema", "$defs", "$ref", "title", "description", "type", "const", "enum", "anyOf"),
    *("pattern", "minLength", "minimum", "maximum", "items", "minItems", "properties"),
    *("minProperties",),
    *("required", "additionalProperties", "propertyNames", "if", "then", "examples"),
}


def valid(value: object, part: dict[str, Any]) -> bool:
    """Whether *value* follows *part* of the schema: the few words of the language that it uses."""
    assert part.keys() <= KNOWN, part.keys() - KNOWN
    if "$ref" in part and not valid(value, SCHEMA["$defs"][part["$ref"].rpartition("/")[2]]):
        return False
    wanted = part.get("type")
    if wanted and not isinstance(value, TYPES[wanted]):
        return False
    if wanted == "integer" and isinstance(value, bool):
        return False
    if "const" in part and (
        value != part["const"] or isinstance(value, bool) != isinstance(part["const"], bool)
    ):
        return False
    if "enum" in part and not (isinstance(value, str) and value in part["enum"]):
        return False
    if "anyOf" in part and not any(valid(value, choice) for choice in part["anyOf"]):
        return False
    if "if" in part and valid(value, part["if"]) and not valid(value, part["then"]):
        return False
    match value:
        case str():
            if len(value) < part.get("minLength", 0):
                return False
            return "pattern" not in part or re.search(part["pattern"], value) is not None
        case int():
            return part.get("minimum", value) <= value <= part.get("maximum", value)
        case list():
            if len(value) < part.get("minItems", 0):
                return False
            return all(valid(item, part.get("items", {})) for item in value)
        case dict() if len(value) < part.get("minProperties", 0):
            return False
        case dict():
            return valid_table(value, part)
    return True


def valid_table(value: dict[str, object], part: dict[str, Any]) -> bool:
    """The same for a table."""
    if not set(part.get("required", ())) <= value.keys():
        return False
    properties = part.get("properties", {})
    for key, item in value.items():
        if not valid(key, part.get("propertyNames", {})):
            return False
        others = part.get("additionalProperties", {})
        if key not in properties and others is False:
            return False
        if not valid(item, properties.get(key, others or {})):
            return False
    return True


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    """The example policies follow the schema."""
    assert valid(tomllib.loads(path.read_text()), SCHEMA)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_policies_are_not(path: Path) -> None:
    """Broken policies do not, but for what only the loader can know."""
    try:
        data = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    only_loader = {"looks", "no-default", "perform"}
    assert valid(data, SCHEMA) == (path.stem in only_loader)


def test_every_key_is_in_it() -> None:
    """The schema has the loader's keys, no other, and an explanation for each."""
    assert SCHEMA["properties"].keys() == TOP.keys()
    assert SCHEMA["$defs"]["rule"]["properties"].keys() == RULE.keys()
    for fields in (TOP, RULE):
        assert all(field.description for field in fields.values())
        assert all(field.kind in SCHEMA["$defs"] for field in fields.values())


@pytest.mark.parametrize("key", TOP)
def test_the_loader_takes_every_key(key: str) -> None:
    """The loader takes the example of each key at the top, and the schema too."""
    lines = {"version": "version = 1", "default": 'default = "allow"'}
    lines[key] = f"{key} = {TOP[key].example}"
    text = "\n".join(lines.values())
    load(text, include=lambda name: "version = 1")
    assert valid(tomllib.loads(text), SCHEMA)


@pytest.mark.parametrize("key", [key for key in RULE if key != "where"])
def test_the_loader_takes_every_key_of_a_rule(key: str) -> None:
    """The same for the keys of a rule."""
    lines = {"calls": 'calls = ["open"]', "do": 'do = "allow"'}
    lines[key] = f"{key} = {RULE[key].example}"
    if key == "racy":
        lines["because"] = 'because = "x"'
    text = "\n".join(['version = 1\ndefault = "allow"\n[[rule]]', *lines.values()])
    load(text)
    assert valid(tomllib.loads(text), SCHEMA)


def example(parameter: Parameter) -> object:
    """A value for it."""
    choice = parameter.choices[0] if parameter.choices else parameter.example or "x"
    return {
        "string": choice,
        "strings": [choice],
        "lists": {"x": [], "y": ["z"]},
        "commands": {"x": ["y", "z"]},
        "integer": 1,
        "boolean": True,
        "errno": "EPERM",
    }[parameter.kind]


def test_every_verb_is_in_it() -> None:
    """The schema and the loader take the same forms of each verb."""
    do = SCHEMA["$defs"]["do"]
    for name, plain in VERBS.items():
        assert valid(name, do) != plain.needed
        for value in (1, "hidden", "EPERM", -1, [], "x"):
            assert valid({name: value}, do) == accepted({name: value}), (name, value)
    for action in ACTIONS.values():
        for form in forms(action):
            assert valid(form, do) == accepted(form), form
    assert not valid("act", do)
    assert not valid({"allow": 1, "deny": "hidden"}, do)


def forms(action: Action) -> list[object]:
    """Right and wrong ways to write it."""
    full = {key: example(parameter) for key, parameter in action.parameters.items()}
    return [
        action.name,
        {action.name: {}},
        {action.name: full},
        {action.name: {**full, "unknown": 1}},
        {action.name: "x"},
        {action.name: 1},
        {action.name: dict.fromkeys(full, 1.5)},
    ]


def accepted(value: object) -> bool:
    """Whether the loader takes it."""
    try:
        verdict(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("value", [0, 1, 511, 512, 531, 532, 4095, 4096, "EPERM", "EFOO", True])
def test_errors(value: object) -> None:
    """Schema and loader know the same errors."""
    assert valid({"fail": value}, SCHEMA["$defs"]["do"]) == accepted({"fail": value})


@pytest.mark.parametrize(
    ("item", "good"),
    [
        ("openat", True),
        ("@mount", True),
        ("-@mount", True),
        ("get*", True),
        ("*", True),
        ("open@x86_64", True),
        ("@own-set", True),
        ("", False),
        ("open at", False),
        ("--open", False),
    ],
)
def test_calls(item: str, good: bool) -> None:
    """The schema takes every form of an item; names that are wrong it cannot tell."""
    assert valid([item], SCHEMA["$defs"]["calls"]) == good
    assert valid(item, SCHEMA["$defs"]["calls"]) == good


def test_it_is_json_and_completes() -> None:
    """It is plain JSON, names its draft, and offers each group with its meaning."""
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    offered = {
        choice["const"]: choice["description"]
        for choice in SCHEMA["$defs"]["call"]["anyOf"]
        if "const" in choice
    }
    assert offered == {name: group.description for name, group in GROUPS.items()}


def test_settings_take_what_they_can_do() -> None:
    """Schema and loader agree on what default, unknown and bad-architecture may say."""
    for key in ("default", "unknown", "bad-architecture"):
        for value in ("allow", "notify", "continue", "perform", "kill-thread", "log", "deny"):
            data = {"version": 1, "default": "allow", key: value}
            text = "\n".join(f"{name} = {json.dumps(said)}" for name, said in data.items())
            try:
                load(text)
            except InvalidPolicy:
                assert not valid(data, SCHEMA), (key, value)
            else:
                assert valid(data, SCHEMA), (key, value)


def test_installation() -> None:
    """Schema and loader agree on flags and the listener."""
    values = {
        "flags": ["log", "LOG", "tsync", "", [], ["log", "spec-allow"], ["x"], [1], 1, {}],
        "listener": [
            *("/run/a", 1, [], {}),
            *({"path": "/a"}, {"path": ""}, {"path": 1}, {"metadata": "m"}),
            *({"path": "/a", "metadata": "m"}, {"path": "/a", "metadata": ""}),
            {"path": "/a", "more": "m"},
        ],
    }
    for key, choices in values.items():
        for value in choices:
            table = isinstance(value, dict)
            said = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) if table else ""
            written = f"{{ {said} }}" if table else json.dumps(value)
            try:
                load(f'version = 1\ndefault = "allow"\n{key} = {written}\n')
            except InvalidPolicy:
                good = False
            else:
                good = True
            data = {"version": 1, "default": "allow", key: value}
            assert valid(data, SCHEMA) == good, (key, value)
