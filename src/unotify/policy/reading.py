"""Takes a policy's text, and what it includes, apart into parts with places."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from unotify.errors import Error, PolicyError
from unotify.policy.fields import SET_NAME, TOP
from unotify.policy.groups import GROUPS
from unotify.policy.problems import Problems, Report, kind_of, shown
from unotify.policy.toml_places import Path, Places, locate

__all__ = ["VERSION", "Include", "Part", "Reader"]

Include: TypeAlias = Callable[[str], str]
"""From a name to a text; raises `OSError` or an `Error` if there is none."""

VERSION: Final = 1
"""Of the language."""

_SETTINGS: Final = (
    *("default", "architectures", "bad-architecture", "unknown"),
    *("flags", "listener"),
)
_LARGEST: Final = 1_000_000
_DEEPEST: Final = 8
_MOST_FILES: Final = 64

_AT: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file, of which only the outer shape is checked yet."""

    report: Report
    path: Path
    value: object


@dataclass(slots=True)
class Reader:
    """Takes a file and what it includes apart, and refuses what has the wrong shape.

    Attributes:
        problems: Where it says what is wrong.
        include: Returns the text of an included file, or ``None``.
        settings: By key; a file's own come before those of its includes.
        rules: In order.
        sets: By name.
        broken: The names of sets that are wrong.
        top: Of the first file.
    """

    problems: Problems
    include: Include | None
    settings: dict[str, Part] = field(default_factory=dict)
    rules: list[Part] = field(default_factory=list)
    sets: dict[str, list[str] | list[int]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    top: Report | None = None
    _homes: dict[str, Report] = field(default_factory=dict)
    _files: int = 0

    def read(self, text: str, source: str, name: str = "", within: tuple[str, ...] = ()) -> None:
        """Take *text* apart, after what it includes.

        Args:
            text: The TOML.
            source: What messages call it.
            name: What the include that led here asked for.
            within: The names of those that led here.
        """
        self._files += 1
        places, data = self._parse(text, source)
        report = Report(self.problems, source, places)
        if self.top is None:
            self.top = report
        if data is None:
            return
        report.unknown_keys((), data, TOP, "a policy")
        self._version(data, report)
        before = frozenset(self._homes)
        if "include" in data:
            self._includes(data["include"], report, name, (*within, name))
        for key in _SETTINGS:
            if key in data:
                self.settings[key] = Part(report, (key,), data[key])
        self._read_sets(data.get("sets", {}), report, before)
        rules = data.get("rule", [])
        if not isinstance(rules, list):
            report.key(("rule",), "rule is an array of tables", hint="write [[rule]]")
            return
        self.rules += [Part(report, ("rule", at), rule) for at, rule in enumerate(rules)]

    def _parse(self, text: str, source: str) -> tuple[Places, dict[str, object] | None]:
        if len(text) > _LARGEST:
            self.problems.add(
                PolicyError(
                    f"this has {len(text)} characters, and a policy at most {_LARGEST}",
                    source=source,
                )
            )
            return Places(""), None
        try:
            return locate(text), tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self.problems.add(_syntax(str(error), text, source))
        except PolicyError as error:
            error.source = source
            self.problems.add(error)
        except (ValueError, RecursionError) as error:
            self.problems.add(PolicyError(f"this is not TOML: {error}", source=source))
        return Places(""), None

    def _version(self, data: Mapping[str, object], report: Report) -> None:
        version = data.get("version")
        if "version" not in data:
            hint = f"begin the file with: version = {VERSION}"
            report.key(("version",), "there is no version", hint=hint)
        elif not isinstance(version, int) or isinstance(version, bool):
            report.value(("version",), f"version is a number, not {kind_of(version)}")
        elif version != VERSION:
            report.value(
                ("version",),
                f"this is version {shown(version)} of the policy language; "
                f"this unotify reads version {VERSION}",
            )

    def _includes(
        self, value: object, report: Report, holder: str, within: tuple[str, ...]
    ) -> None:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list):
            report.value(("include",), f"include takes names of files, not {kind_of(value)}")
            return
        for at, name in enumerate(names):
            path: Path = ("include",) if isinstance(value, str) else ("include", at)
            if not isinstance(name, str) or not name:
                report.value(path, f"include takes names of files, not {shown(name)}")
                continue
            self._include(name, path, report, holder, within)

    def _include(
        self, name: str, path: Path, report: Report, holder: str, within: tuple[str, ...]
    ) -> None:
        seen = posixpath.normpath(posixpath.join(posixpath.dirname(holder), name))
        asked = seen if holder else name
        if seen in within or (report.source == seen and not holder):
            report.value(path, f"{shown(name)} includes itself")
        elif len(within) > _DEEPEST:
            report.value(path, f"more than {_DEEPEST} includes in each other")
        elif self._files >= _MOST_FILES:
            report.value(path, f"more than {_MOST_FILES} includes in all")
        elif self.include is None:
            report.value(path, "nothing can be included here", hint="write the rules here")
        else:
            try:
                text = self.include(asked)
            except Error as error:
                report.value(path, str(error), hint=error.hint)
            except OSError as error:
                why = error.strerror or str(error)
                report.value(path, f"{shown(name)} cannot be read: {why}")
            except UnicodeError:
                report.value(path, f"{shown(name)} is not UTF-8 text")
            else:
                top = self.top.source if self.top is not None else ""
                source = posixpath.normpath(posixpath.join(posixpath.dirname(top), asked))
                self.read(text, source, seen, within)

    def _read_sets(self, value: object, report: Report, before: frozenset[str]) -> None:
        if not isinstance(value, dict):
            report.value(("sets",), f"sets is a table, not {kind_of(value)}", hint="write [sets]")
            return
        for name, items in value.items():
            path = ("sets", name)
            if self._set(name, items, path, report):
                # Who includes has the last word on what it includes, and on nothing else.
                if name in before and self.sets.get(name) != items:
                    home = self._homes[name].source
                    report.key(path, f"{home} has a set {shown(name)} too, with other items")
                self._homes.setdefault(name, report)
                self.sets[name] = items
            else:
                self.broken.add(name)

    def _set(self, name: str, items: object, path: Path, report: Report) -> bool:
        if re.fullmatch(SET_NAME, name) is None:
            report.key(
                path,
                f"{shown(name)} cannot name a set",
                hint="a name has letters, digits, _ and -, and begins with a letter",
            )
            return False
        if f"@{name}" in GROUPS:
            report.key(path, f"there is a group @{name} already", hint="choose another name")
            return False
        if not isinstance(items, list):
            report.value(path, f"a set is an array, not {kind_of(items)}")
            return False
        if not items:
            report.value(path, f"the set {shown(name)} is empty", hint="leave it out")
            return False
        kind = kind_of(items[0])
        for at, item in enumerate(items):
            if kind_of(item) != kind or kind not in ("a string", "an integer"):
                report.value((*path, at), "a set has strings only, or integers only")
                return False
        return True


def _syntax(message: str, text: str, source: str) -> PolicyError:
    found = _AT.search(message)
    what = message[: found.start()] if found else message
    if found and found[1]:
        line, column = int(found[1]), int(found[2])
    else:
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    what = what[:1].lower() + what[1:]
    hint = "is there a quote missing?" if "'\\n'" in what else None
    return PolicyError(
        f"this is not TOML: {what}", source=source, line=line, column=column, hint=hint
    )
