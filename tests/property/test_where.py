"""Conditions: any text is a condition or a clear error, and registers mean what Python says."""

from __future__ import annotations

import operator

from hypothesis import example, given
from hypothesis import strategies as st

from unotify.abi.arch import Arch
from unotify.bpf import evaluate
from unotify.errors import PolicyError
from unotify.policy.conditions import RegisterTest, judge
from unotify.policy.where import bind

PIECES = [
    "flags", "dirfd", "path", "mode", "O_CREAT", "AT_FDCWD", "resolved", "uid", "under", "glob",
    "nth", "cidr", "(", ")", "[", "]", ",", ".", "==", "!=", "<", "in", "not", "and", "or", "&",
    "|", "~", "-", "<<", "0", "3", "1.5", "'x'", "'/a'", "\n", "lambda", ":", "if", "else", "*",
]  # fmt: skip
SIGNS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@given(st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join) | st.text(max_size=60))
@example("matches(path, '[')")
@example("path == '\ud800'")
@example("0" * 5000)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a `PolicyError` comes out, whatever goes in."""
    told: PolicyError | None = None
    try:
        bind(text, ["openat"], architectures=[Arch.X86_64, Arch.I386])
    except PolicyError as error:
        told = error
    assert told is None or (str(told) and told.column is not None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["dirfd", "flags", "mode"]),
            st.none() | st.integers(1, 0xFFFF),
            st.sampled_from(sorted(SIGNS)),
            st.integers(0, 0xFFFF),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([" and ", " or "]),
    st.tuples(*[st.integers(0, (1 << 64) - 1)] * 6) | st.tuples(*[st.integers(0, 0x1FFFF)] * 6),
    st.sampled_from([Arch.X86_64, Arch.I386, Arch.AARCH64]),
)
def test_registers_mean_what_python_says(
    terms: list[tuple[str, int | None, str, int]],
    word: str,
    args: tuple[int, ...],
    arch: Arch,
) -> None:
    """A condition on registers agrees with the same one on the decoded arguments."""
    texts, answers = [], []
    for name, mask, sign, number in terms:
        if mask is not None:
            number &= mask
        texts.append(f"{name} & {mask} {sign} {number}" if mask else f"{name} {sign} {number}")
        raw = args[{"dirfd": 0, "flags": 2, "mode": 3}[name]]
        value = raw & (0xFFFF if name == "mode" else 0xFFFFFFFF)
        if mask is not None:
            value &= mask
        elif name in ("dirfd", "flags") and value >> 31:
            value -= 1 << 32
        answers.append(SIGNS[sign](value, number))
    # Flags are translated bit by bit, so only those that are the same everywhere are compared.
    if arch is Arch.AARCH64:
        return

    def ask(test: RegisterTest) -> bool:
        return evaluate(test.lower(arch), args, bits=arch.bits)

    found = judge(bind(word.join(texts), ["openat"])["openat"], ask)
    assert found is (all(answers) if word == " and " else any(answers))
