"""Tests of policies: this call by this process gets this answer, decided there.

They are found and read here; `unotify.testing.playing` plays them.
"""

from __future__ import annotations

import inspect
import runpy
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import Error, PolicyError, UnknownName
from unotify.policy.actions import ACTIONS
from unotify.policy.model import Verb, Verdict
from unotify.policy.verbs import verdict
from unotify.testing.facility.traits import LATEST, VERSIONS
from unotify.testing.playing import Step, play
from unotify.testing.supervised import Supervised

__all__ = ["Outcome", "PolicyTest", "find", "load", "run"]

_TEST_KEYS: Final = frozenset({"name", "policy", "kernel", "links", "steps"})
_STEP_KEYS: Final = frozenset({"call", "args", "arch", "by", "expect", "decided", "rule"})
_BY_KEYS: Final = frozenset({"uid", "gid", "comm", "exe", "cgroup"})
_PLACES: Final = ("filter", "supervisor")


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """One test.

    Attributes:
        name: What it holds.
        file: Where it stands.
        line: The line there; 0 if it has none.
        run: Runs it; raises if it fails.
    """

    name: str
    file: Path
    line: int
    run: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one test.

    Attributes:
        test: The test.
        failure: Why it failed; empty if it did not.
        broken: Whether it could not be run at all: its policy is wrong, or itself.
        seconds: How long it took.
    """

    test: PolicyTest
    failure: str
    broken: bool
    seconds: float


# -- finding and reading -------------------------------------------------------------------


def find(path: Path) -> list[Path]:
    """The files with tests in a directory and below; a file is taken as it is.

    Tests are in ``test_*.py``, and in each TOML file with a table ``test``.

    Raises:
        PolicyError: A file cannot be read, or is no TOML.
    """
    if not path.is_dir():
        return [path]
    found = [one for one in path.rglob("*.toml") if "test" in _toml(one)]
    found += path.rglob("test_*.py")
    return sorted(found)


def load(file: Path) -> list[PolicyTest]:
    """The tests of one file.

    Raises:
        PolicyError: It cannot be read, or says something that is no test.
    """
    return _python(file) if file.suffix == ".py" else list(_tests(file))


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"it cannot be read: {error.strerror}", source=str(file)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"it is no TOML: {error}", source=str(file)) from None


def _tests(file: Path) -> Iterator[PolicyTest]:
    document = _toml(file)
    tests = document.pop("test", None)
    if not isinstance(tests, list) or not tests:
        raise PolicyError("it has no [[test]]", source=str(file))
    _known(document, {"policy", "kernel", "links", "by"}, file, 0, "a file of tests")
    lines = [
        number
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if line.split("#")[0].strip().replace(" ", "") == "[[test]]"
    ]
    for position, table in enumerate(tests):
        line = lines[position] if position < len(lines) else 0
        yield _test(file, line, {**document, **table})


def _test(file: Path, line: int, table: dict[str, Any]) -> PolicyTest:
    _known(table, _TEST_KEYS | _STEP_KEYS, file, line, "a test")
    rows = table.get("steps") or [{key: table[key] for key in _STEP_KEYS if key in table}]
    try:
        steps = tuple(_step({"by": table.get("by", {}), **row}, file, line) for row in rows)
    except PolicyError as error:
        if error.source is None:
            error.source, error.line = str(file), line or None
        raise
    given = table.get("policy")
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise PolicyError(
            "a test has a policy: a path as seen from its file, or a list of them",
            source=str(file),
            line=line or None,
        )
    version = table.get("kernel", LATEST)
    if version not in VERSIONS:
        raise UnknownName(
            f"there is no kernel {version!r}",
            source=str(file),
            line=line or None,
            hint=f"there are {', '.join(VERSIONS)}",
        )
    paths = [file.parent / name for name in names]
    name = table.get("name") or ", ".join(str(step.call) for step in steps)
    links = {str(key): str(value) for key, value in table.get("links", {}).items()}
    return PolicyTest(str(name), file, line, lambda: play(paths, steps, links, version))


def _known(table: Mapping[str, Any], keys: Any, file: Path, line: int, what: str) -> None:
    for key in table:
        if key not in keys:
            raise UnknownName(
                f"{what} has no key {key!r}",
                source=str(file),
                line=line or None,
                hint=nearest(key, sorted(keys)) or f"it has {', '.join(sorted(keys))}",
            )


def _step(row: dict[str, Any], file: Path, line: int) -> Step:
    _known(row, _STEP_KEYS, file, line, "a step")
    if "call" not in row or "expect" not in row:
        raise PolicyError('a step has a call and what to expect: call = "mkdir", expect = "deny"')
    args = row.get("args", ())
    if not isinstance(args, (list, tuple, dict)):
        raise PolicyError("args is a list, or a table by the names of the arguments")
    arch = row.get("arch")
    labels = {one.label: one for one in Arch}
    if arch is not None and arch not in labels:
        raise UnknownName(f"there is no architecture {arch!r}", hint=nearest(str(arch), labels))
    decided = row.get("decided")
    if decided is not None and decided not in _PLACES:
        raise PolicyError(f'decided is "filter" or "supervisor", not {decided!r}')
    by = row.get("by", {})
    for key in by:
        if key not in _BY_KEYS and not (key.startswith("fd:") and key[3:].isdecimal()):
            raise UnknownName(
                f"nothing is known of a caller by {key!r}",
                hint=nearest(key, sorted(_BY_KEYS)) or "and fd:N for a descriptor",
            )
    return Step(
        row["call"],
        args if isinstance(args, dict) else tuple(args),
        None if arch is None else labels[arch],
        by,
        _expected(row["expect"]),
        decided,
        row.get("rule"),
    )


def _expected(value: Any) -> Verdict:
    if isinstance(value, str) and value in ACTIONS:
        return Verdict(Verb.ACT, handler=value)  # whatever it is given
    return verdict(value, what="expect")


def _python(file: Path) -> list[PolicyTest]:
    try:
        names = runpy.run_path(str(file))
    except Exception as error:
        raise PolicyError(f"{type(error).__name__}: {error}", source=str(file)) from error
    found = []
    for name, function in names.items():
        if name.startswith("test") and inspect.isfunction(function):
            wanted = set(inspect.signature(function).parameters)
            if wanted - {"supervised"}:
                raise PolicyError(
                    f"{name} wants {', '.join(sorted(wanted - {'supervised'}))}",
                    source=str(file),
                    line=function.__code__.co_firstlineno,
                    hint="a test is given supervised, a function that makes a Supervised",
                )
            found.append(
                PolicyTest(
                    name,
                    file,
                    function.__code__.co_firstlineno,
                    lambda f=function: _call(f),  # type: ignore[misc]
                )
            )
    if not found:
        raise PolicyError("it has no function test_...", source=str(file))
    return found


def _call(function: Callable[..., Any]) -> None:
    with ExitStack() as stack:

        def supervised(*addons: object, **options: Any) -> Supervised:
            return stack.enter_context(Supervised(*addons, **options))

        if inspect.signature(function).parameters:
            function(supervised=supervised)
        else:
            function()


# -- running -------------------------------------------------------------------------------


def run(test: PolicyTest) -> Outcome:
    """Run one test."""
    began = time.perf_counter()
    failure, broken = "", False
    try:
        test.run()
    except AssertionError as error:
        failure = str(error) or "".join(traceback.format_exception_only(error)).strip()
        if test.file.suffix == ".py":
            last = traceback.extract_tb(error.__traceback__)[-1]
            failure += f" (line {last.lineno}: {last.line})"
    except Exception as error:
        failure, broken = _told(error), True
    return Outcome(test, failure, broken, time.perf_counter() - began)


def _told(error: Exception) -> str:
    if not isinstance(error, Error):
        return f"{type(error).__name__}: {error}"
    place = [
        str(part) for part in (getattr(error, "source", None), getattr(error, "line", None)) if part
    ]
    said = ": ".join([*([":".join(place)] if place else []), str(error)])
    return f"{said} (hint: {error.hint})" if error.hint else said
