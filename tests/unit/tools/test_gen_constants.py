"""The committed constants are what the generator makes of the headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import debian, gen_calls, gen_constants
from unotify.abi import _constants


def test_constants_are_what_the_generator_prints() -> None:
    """The committed constants, printed again, are the committed data and stub to the byte."""
    table = gen_constants.read_text(_constants.TEXT, _constants.ABSENT)
    assert gen_constants.data_module(table) == gen_constants.OUTPUT.read_text()
    assert gen_constants.stub(table) == gen_constants.STUB.read_text()


def test_constants_are_those_that_the_list_asks_for() -> None:
    """No class is missing, none is left over, each is of its kind."""
    table = gen_constants.read_text(_constants.TEXT, _constants.ABSENT)
    assert {name: made.kind for name, made in table.items()} == {
        row.name: row.kind for row in gen_constants.rows()
    }


def test_what_an_architecture_has_no_name_for_is_noted() -> None:
    """MAP_32BIT is of x86 only, SIGSTKFLT of all but mips."""
    table = gen_constants.read_text(_constants.TEXT, _constants.ABSENT)
    assert "MAP_32BIT" in table["MmapFlags"].absent["ppc64"]
    assert "i386" not in table["MmapFlags"].absent
    assert "SIGSTKFLT" in table["Signal"].absent["mips64"]
    assert "x86_64" not in table["Signal"].absent


@pytest.mark.timeout(600)
def test_constants_come_from_debians_headers(scratch: Path) -> None:
    """The same for flags and choices."""
    archive = debian.Archive(debian.SUITES[0], scratch, accept_expired=True)
    data, stub = gen_constants.generate(archive.unpack(gen_calls.PACKAGE))
    assert data == gen_constants.OUTPUT.read_text()
    assert stub == gen_constants.STUB.read_text()
