"""Runs test modules of CPython's own: python outcomes_main.py RESULT MODULE...

How each single test went is left in the file RESULT, by its name.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import unittest
from typing import Any


class Outcomes(unittest.TestResult):
    """How each test ended, in one word, and what was said about it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.found: dict[str, tuple[str, str]] = {}

    def note(self, test: Any, outcome: str, details: str = "") -> None:
        """Keep the worst of a test: of its subtests one may fail after another."""
        # Not by the attribute alone: some test cases have a test that is called so.
        subtest = isinstance(test, unittest.case._SubTest)
        name = (test.test_case if subtest else test).id()
        if self.found.get(name, ("ok", ""))[0] == "ok":
            self.found[name] = (outcome, details)

    def startTest(self, test: unittest.TestCase) -> None:
        """As of unittest."""
        super().startTest(test)
        # If all of it comes to a sudden end this was the reason.
        self.found.setdefault(test.id(), ("started", ""))
        with open(self.path, "w", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(self.found, file)
        del self.found[test.id()]

    def addSuccess(self, test: unittest.TestCase) -> None:
        """As of unittest."""
        self.note(test, "ok")

    def addError(self, test: Any, err: Any) -> None:
        """As of unittest."""
        self.note(test, "error", self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    def addFailure(self, test: Any, err: Any) -> None:
        """As of unittest."""
        self.note(test, "failure", self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    def addSkip(self, test: Any, reason: str) -> None:
        """As of unittest."""
        self.note(test, "skip", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        """As of unittest."""
        self.note(test, "expected failure")

    def addUnexpectedSuccess(self, test: Any) -> None:
        """As of unittest."""
        self.note(test, "unexpected success")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        """As of unittest."""
        if err is not None:
            self.addFailure(test, err)


def without(suite: unittest.TestSuite, words: list[str]) -> unittest.TestSuite:
    """*suite*, but for tests that have one of *words* in their names."""
    kept = unittest.TestSuite()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(without(test, words))
        elif not any(word in test.id() for word in words):
            kept.addTest(test)
    return kept


def main(path: str, modules: list[str]) -> None:
    """Run *modules* one after the other, in this process."""
    from test import support

    support.use_resources = []  # neither network nor hours
    outcomes = Outcomes(path)
    for name in modules:
        try:
            module = importlib.import_module(f"test.{name}")
        except unittest.SkipTest as skipped:
            outcomes.found[name] = ("skip", str(skipped))
            continue
        left_out = os.environ.get("LEFT_OUT", "").split()
        without(unittest.defaultTestLoader.loadTestsFromModule(module), left_out).run(outcomes)
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(outcomes.found, file)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main(sys.argv[1], sys.argv[2:])
    sys.stdout.flush()
    os._exit(0)  # whatever threads a test left behind
