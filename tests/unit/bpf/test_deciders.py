"""Predicates as functions decide what the predicates mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.test_bpf import EDGES, predicates
from unotify.bpf import Compare, CompareOp, RegisterPredicate, decider, evaluate
from unotify.errors import NotExpressible

registers = st.tuples(*[st.sampled_from(EDGES) | st.integers(0, (1 << 64) - 1)] * 6)


@given(predicates((0, 32, 64)), registers)
def test_as_evaluated(predicate: RegisterPredicate, args: tuple[int, ...]) -> None:
    """Of 64-bit calls a function says what `evaluate` says."""
    assert decider(predicate)(args) == evaluate(predicate, args)


@given(predicates((0, 32)), registers)
def test_as_evaluated_for_32_bits(predicate: RegisterPredicate, args: tuple[int, ...]) -> None:
    """Of 32-bit calls too."""
    assert decider(predicate, bits=32)(args) == evaluate(predicate, args, bits=32)


def test_no_meaning() -> None:
    """What has no meaning for 32-bit calls is refused when the function is made."""
    with pytest.raises(NotExpressible, match="64-bit test"):
        decider(Compare(0, CompareOp.EQ, 1, bits=64), bits=32)
