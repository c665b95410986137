"""What all tests share: when kernel tests run, and who runs them.

``UNOTIFY_KERNEL_TESTS`` decides about the tests that need a real kernel:

- unset: they run where they can and skip, with the reason, where they cannot;
- ``1``: a capability that is missing fails the test (CI must not skip silently);
- ``user``: the same in the ordinary user's run, where those that need root may skip;
- ``0``: they never run.

``UNOTIFY_TEST_LONG`` (`make test-long`) asks for a hundred times as many examples of each property.
"""

from __future__ import annotations

import functools
import gc
import os
import re
import sys
import warnings
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

# A deadline for one example says more about a busy machine than about the code.
hypothesis.settings.register_profile("usual", deadline=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile("long" if os.environ.get("UNOTIFY_TEST_LONG") else "usual")

KERNEL = frozenset({"kernel", "privileged", "containers", "faults", "transparency"})
NOBODY = 65534
HERE = Path(__file__).parent


def _room(item: pytest.Item) -> str:
    relative = item.path.relative_to(HERE) if item.path.is_relative_to(HERE) else Path()
    return relative.parts[0] if relative.parts else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs root by where it is, and what a busy machine may upset."""
    for item in items:
        if _room(item) == "privileged":
            item.add_marker(pytest.mark.privileged)
        if _room(item) in KERNEL:
            # Whatever else the machine does can starve a real process past a deadline. One more
            # try, and the run ends with a list of those that needed it.
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run a kernel test, skip it, or fail it for what is missing."""
    if _failed:
        _failed.clear()
        _forget()
    if _room(item) in KERNEL:
        if os.environ.get("UNOTIFY_KERNEL_TESTS") == "0":
            pytest.skip("UNOTIFY_KERNEL_TESTS=0")
        if (reason := _no_notification()) is not None:
            missing(reason)
    if item.get_closest_marker("privileged") is not None:
        need_root()


_failed: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test that failed, also one that is tried again."""
    if report.outcome not in ("passed", "skipped"):
        _failed.append(report.nodeid)


_VISITED = re.compile(r"^.*: \d+ states, \d+ moves, \d+ ends$", re.MULTILINE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was explored: what tests print of it, wherever they ran."""
    passed = terminalreporter.getreports("passed")
    found = [line for report in passed for line in _VISITED.findall(report.capstdout)]
    if found:
        terminalreporter.section("explored")
        for line in found:
            terminalreporter.line(line)


def _forget() -> None:
    # What a test that failed had open lives on in its traceback, and its end would be told as the
    # fault of whatever test runs then.
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):
            delattr(sys, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def missing(reason: str) -> NoReturn:
    """Skip the running test for *reason*, or fail it where skips are not accepted."""
    if (asked := os.environ.get("UNOTIFY_KERNEL_TESTS")) in ("1", "user"):
        pytest.fail(f"{reason}, and UNOTIFY_KERNEL_TESTS={asked}", pytrace=False)
    pytest.skip(reason)


def need_root() -> None:
    """Go on as root alone."""
    if os.geteuid() != 0:
        if os.environ.get("UNOTIFY_KERNEL_TESTS") == "user":
            pytest.skip("this needs root")
        missing("this needs root")


def need_native() -> None:
    """Go on with the native part alone."""
    from unotify.kernel import native

    if not native.installed():
        missing("the native part is not installed: it takes a C compiler and Python's headers")


@functools.cache
def _no_notification() -> str | None:
    from unotify.errors import KernelError
    from unotify.kernel.probe import probe

    try:
        error = probe().install_error
    except KernelError as failed:
        error = str(failed)
    return None if error is None else f"no listener can be installed here: {error}"


@pytest.fixture(name="needs_root")
def _needs_root() -> None:
    """Root, or no test."""
    need_root()


@pytest.fixture(name="needs_native", scope="session")
def _needs_native() -> None:
    """The native part, or no test."""
    need_native()


@pytest.fixture(name="native_backend")
def _native_backend() -> None:
    """The native part as the backend, or no test."""
    from unotify.kernel import native

    if native.backend() != "native":
        missing("the native part is not installed, or not wanted")


@pytest.fixture(name="as_nobody")
def _as_nobody(needs_root: None) -> dict[str, object]:
    """The options of subprocess that start a process as an ordinary user."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
