"""The committed constants are what the generator makes of the headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import debian, gen_calls, gen_constants
from unotify.abi import _constants


def test_constants_are_what_the_generator_prints() -> None:
    """The committed constants, printed again, are the committed data and stub to the byte."""
    table = gen_constants.read_text(_constants.TEXT)
    assert gen_constants.data_module(table) == gen_constants.OUTPUT.read_text()
    assert gen_constants.stub(table) == gen_constants.STUB.read_text()


def test_constants_are_those_that_the_list_asks_for() -> None:
    """No class is missing, none is left over, each is of its kind."""
    table = gen_constants.read_text(_constants.TEXT)
    assert {name: kind for name, (kind, _, _) in table.items()} == {
        row.name: row.kind for row in gen_constants.rows()
    }


@pytest.mark.timeout(600)
def test_constants_come_from_debians_headers(scratch: Path) -> None:
    """The same for flags and choices."""
    archive = debian.Archive(debian.SUITES[0], scratch, accept_expired=True)
    data, stub = gen_constants.generate(archive.unpack(gen_calls.PACKAGE))
    assert data == gen_constants.OUTPUT.read_text()
    assert stub == gen_constants.STUB.read_text()
