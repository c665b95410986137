"""The friendly face of the room: what it exports, and that importing it is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unotify import abi


def test_every_exported_name_is_there() -> None:
    """`__all__` tells the truth, and each name is the one of its own module."""
    for name in abi.__all__:
        assert getattr(abi, name) is not None
    assert abi.spec("openat").name == "openat"
    assert abi.number("openat", abi.Arch.X86_64) == 257


def test_unknown_names_are_attribute_errors() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="nonsense"):
        abi.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_no_table() -> None:
    """Tables, rows and constants are loaded when first used: `unotify --version` is quick."""
    program = (
        "import sys, unotify.abi;print([m for m in sys.modules if m.startswith('unotify.abi.')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"


def test_one_question_loads_one_table() -> None:
    """A look-up of one call touches neither the other rows' parser nor the constants."""
    program = (
        "import sys; from unotify.abi import Arch, number; number('read', Arch.X86_64);"
        "print('unotify.abi._rows' in sys.modules, 'unotify.abi._constants' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.split() == [b"False", b"False"]
