"""The committed stub is what the generator makes of the call model."""

from __future__ import annotations

from tools import gen_stubs


def test_stubs_of_calls_are_what_the_generator_makes() -> None:
    """The stub for editors names the arguments that the model names."""
    assert gen_stubs.generate() == gen_stubs.OUTPUT.read_text()
