"""The committed rows are what the generator makes of prototypes and roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import gen_model


def test_rows_are_what_the_generator_makes() -> None:
    """Prototypes and roles, merged again, are the committed rows to the byte."""
    made = gen_model.generate(gen_model.PROTOTYPES.read_text(), gen_model.ROLES.read_text())
    assert made == gen_model.OUTPUT.read_text()


@pytest.mark.timeout(600)
def test_prototypes_come_from_debians_kernel_source(scratch: Path) -> None:
    """The same for what the kernel's functions take; fetches 160 MB."""
    assert gen_model.fetch(scratch, accept_expired=True) == gen_model.PROTOTYPES.read_text()


def test_roles_must_fit_the_prototype() -> None:
    """A row with too few arguments is refused, with the name of the call."""
    roles = gen_model.ROLES.read_text().replace("\nfchdir(fd:FD)", "\nfchdir()")
    with pytest.raises(SystemExit, match="fchdir: 0 roles"):
        gen_model.generate(gen_model.PROTOTYPES.read_text(), roles)


def test_calls_without_roles_are_refused() -> None:
    """A new call in the tables needs a row written by hand."""
    roles = gen_model.ROLES.read_text().replace("\nfchdir(fd:FD)", "")
    with pytest.raises(SystemExit, match="lacks fchdir"):
        gen_model.generate(gen_model.PROTOTYPES.read_text(), roles)


def test_roles_of_nothing_are_refused() -> None:
    """A misspelt call is in no table."""
    roles = gen_model.ROLES.read_text() + "fchdirr(fd:FD)\n"
    with pytest.raises(SystemExit, match="in no table: fchdirr"):
        gen_model.generate(gen_model.PROTOTYPES.read_text(), roles)
