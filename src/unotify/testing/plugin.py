"""Fixtures for pytest.

In a ``conftest.py``::

pytest_plugins = ["unotify.testing.plugin"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from unotify.testing.kernel import SimulatedKernel
from unotify.testing.supervised import Supervised

__all__ = ["simulated_kernel", "supervised"]


@pytest.fixture
def simulated_kernel() -> SimulatedKernel:
    """A new `SimulatedKernel` of the latest version."""
    return SimulatedKernel()


@pytest.fixture
def supervised() -> Iterator[Callable[..., Supervised]]:
    """A function that makes a `Supervised`, with its arguments; all are closed at the end."""
    with ExitStack() as stack:

        def make(*addons: object, **options: Any) -> Supervised:
            return stack.enter_context(Supervised(*addons, **options))

        yield make
