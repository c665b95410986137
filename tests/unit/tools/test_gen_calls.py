"""The committed numbers are what the generator makes of the headers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tools import gen_calls
from unotify.abi import _numbers, tables
from unotify.abi.arch import Arch


def test_number_tables_are_what_the_generator_prints() -> None:
    """The committed numbers, printed again, are the committed file to the byte."""
    labels = [label for abi in gen_calls.ABIS for label in abi.labels]
    archs = {arch.label: arch for arch in Arch}
    assert set(labels) == set(archs)
    numbers = {label: tables.numbers(archs[label]) for label in labels}
    assert gen_calls.render(_numbers.HEADERS, numbers) == gen_calls.OUTPUT.read_text()


def test_number_tables_were_not_edited() -> None:
    """The digest is that of the table."""
    assert hashlib.sha256(_numbers.TABLE.encode()).hexdigest() == _numbers.SHA256


@pytest.mark.timeout(600)
def test_number_tables_come_from_debians_headers(scratch: Path) -> None:
    """Made anew from the packages; a newer package in the archive shows as a difference."""
    made = gen_calls.generate(scratch, accept_expired=True)
    assert made == gen_calls.OUTPUT.read_text()
