"""Sets of calls as ``strace -e`` takes them: ``trace=`` and ``inject=``.

What strace traces the kernel's audit log has here (``log``), and all goes on; what it
injects is answered so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from errno import ENOSYS
from types import MappingProxyType
from typing import Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.abi.model import CallSpec, Role
from unotify.errors import PolicyError, UnknownName
from unotify.policy.foreign.making import Making, compat, errno_of, fail
from unotify.policy.groups import GROUPS
from unotify.policy.model import Place, Verb, Verdict
from unotify.policy.oci.importing import Imported
from unotify.policy.problems import listed, shown

__all__ = ["read"]

_FDS: Final = frozenset({Role.FD, Role.DIRFD, Role.FD_OUT})

_CLASSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "file": "@path",
        "process": "@process",
        "network": "@network-io",
        "net": "@network-io",
        "signal": "@signal",
        "ipc": "@ipc",
        "memory": "@memory",
        "creds": "@setuid",
        "clock": "@clock",
    }
)

_PATTERNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stat": r"(old)?stat(64)?",
        "lstat": r"(old)?lstat(64)?",
        "fstat": r"(old)?fstat(64)?|fstatat64|newfstatat",
        "%stat": r"(old)?[fl]?stat(64)?|fstatat64|newfstatat|statx",
        "statfs": r"statfs(64)?",
        "fstatfs": r"fstatfs(64)?",
        "%statfs": r"f?statfs(64)?|ustat",
        "pure": r"get(e?[ug]id(32)?|pid|ppid|pgrp|tid|pagesize)",
    }
)

_IGNORED: Final = (
    "abbrev verbose raw signal signals status quiet read write decode-fds decode-pids kvm fds"
)


def read(text: str, source: str, native: Arch) -> Imported:
    """Read one or more expressions, with or without their ``-e``.

    Raises:
        PolicyError: They are wrong, or say what a policy cannot.
    """
    making = Making(source)
    traced: set[str] | None = None
    place = Place(source)
    for line, content in enumerate(text.split("\n"), 1):
        for found in re.finditer(r"\S+", content.partition("#")[0]):
            place = Place(source, line, found.start() + 1)
            word = found[0].strip("'\"")
            if word.startswith("-e"):
                word = word[2:]
            word = word.removeprefix("--")
            if not word:
                continue
            key, sign, value = word.partition("=")
            if not sign:
                key, value = "trace", word
            if key in ("trace", "t"):
                traced = (traced or set()) | _set(value, place, making)
            elif key in ("inject", "fault"):
                _inject(key, value, place, making)
            elif key in _IGNORED.split():
                making.notes[f"{key}= is about what strace prints: ignored"] = None
            else:
                hint = nearest(key, ["trace", "inject", "fault"])
                fail(place, f"no qualifier is named {shown(key)}", hint=hint, kind=UnknownName)
    if traced is None and not making.rules:
        raise PolicyError(
            "there is no set of calls", source=source, hint="such as trace=%file,connect"
        )
    making.rule(traced or (), Verdict(Verb.LOG), place)
    allow = Verdict(Verb.ALLOW)
    return making.done(allow, compat(native), bad_arch=allow, unknown=allow)


def _set(text: str, place: Place, making: Making) -> set[str]:
    inverted = text.startswith("!")
    found: set[str] = set()
    for item in text.removeprefix("!").split(","):
        found |= set(_item(item, place, making))
    return set(model.names()) - found if inverted else found


def _item(item: str, place: Place, making: Making) -> list[str]:
    name, at, abi = item.removeprefix("?").partition("@")
    if at:
        making.notes[f"{item}: every ABI is meant here, not {abi} alone"] = None
    if name in ("all", "none", ""):
        return list(model.names()) if name == "all" else []
    if name.startswith("/"):
        return _matching(name[1:], place)
    if name in model.names():
        return [name]
    group = name.removeprefix("%")
    if group == "desc":
        return _having(lambda spec: any(arg.role in _FDS for arg in spec.args))
    if group in _CLASSES:
        return sorted(GROUPS[_CLASSES[group]].calls)
    if name.startswith("%") and group in _PATTERNS:
        pattern = _PATTERNS[group]
        return [call for call in model.names() if re.fullmatch(pattern, call)]
    if item.startswith("?"):
        return making.known([name])
    known = [*(f"%{word}" for word in (*_CLASSES, *_PATTERNS, "desc")), *model.names()]
    hint = nearest(name, known) or "'unotify calls' lists all calls"
    return fail(place, f"no call or class is named {shown(name)}", hint=hint, kind=UnknownName)


def _having(test: Callable[[CallSpec], bool]) -> list[str]:
    return [name for name in model.names() if test(model.spec(name))]


def _matching(pattern: str, place: Place) -> list[str]:
    # Only what cannot take for ever: no groups, no repeated repetitions.
    if not re.fullmatch(r"[\w^$.|]*([.\w]\*[\w^$.|]*){0,3}", pattern):
        fail(place, f"the pattern {shown(pattern)} is too much", hint="list the calls")
    return [name for name in model.names() if re.search(pattern, name)]


def _inject(key: str, value: str, place: Place, making: Making) -> None:
    calls, *options = value.split(":")
    verdict = Verdict(Verb.FAIL, errno=ENOSYS) if key == "fault" else None
    for option in options:
        name, _, given = option.partition("=")
        if name == "error":
            verdict = Verdict(Verb.FAIL, errno=errno_of(given, place))
        elif name == "retval" and given.isascii() and given.isdigit() and len(given) < 19:
            verdict = Verdict(Verb.RETURN, value=int(given))
        elif name in ("delay_enter", "delay_exit"):
            making.notes[f"{name}: there is no delay"] = None
        elif name == "when":
            fail(
                place,
                "which of the calls are answered cannot be converted",
                hint='write the rule by hand, with where = "nth(2)" or "every(3)"',
            )
        else:
            fail(
                place,
                f"{shown(option)} cannot be converted",
                hint=f"there are {listed(['error=', 'retval='])}",
            )
    if verdict is None:
        fail(place, "it does not say what is injected", hint="add :error=EPERM or :retval=0")
    making.rule(_set(calls, place, making), verdict, place)
