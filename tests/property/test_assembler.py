"""Text and instructions: there and back, and whatever else somebody types."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from unotify.abi.arch import Arch
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf import Instruction, Op, Program, check_program, decode, disassemble, encode
from unotify.bpf.assembler import assemble
from unotify.bpf.instructions import ARCH_OFFSET, NR_OFFSET, ja, jeq, jge, ld_abs, ret
from unotify.cli.failures import CommandError
from unotify.cli.inputs import parse
from unotify.errors import InvalidProgram, PolicyError

words = st.sampled_from(
    [
        *(0, 1, 31, 32, 59, 257, 0x40000000, 0x40000101, 0xFFFFFFFF),
        *(arch.audit for arch in Arch),
        *(int(action) | data for action in Action for data in (0, 1, 38, 4095, 0xFFFF)),
    ]
) | st.integers(0, 0xFFFFFFFF)
small = st.integers(0, 6)
opcodes = st.sampled_from([int(op) for op in Op])
instructions = st.one_of(
    st.builds(Instruction, opcodes, st.just(0), st.just(0), words),
    st.builds(Instruction, opcodes, small, small, words | small),
    st.builds(Instruction, st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 255), words),
    st.sampled_from([ld_abs(NR_OFFSET), ld_abs(ARCH_OFFSET), ld_abs(60)]),
    st.builds(jeq, words, small, small),
    st.builds(jge, words, small, small),
    st.builds(ja, small),
    st.builds(ret, words),
)


@st.composite
def valid_programs(draw: st.DrawFn) -> list[Instruction]:
    """Programs that the kernel takes, mended from any."""
    code = [*draw(st.lists(instructions, max_size=40)), ret(draw(words))]
    last = len(code) - 1
    taken: list[Instruction] = []
    for at, (op, jt, jf, k) in enumerate(code):
        room = last - at - 1
        if op == Op.JA:
            k = min(k, max(room, 0))
        elif op & 7 == 5:
            jt, jf = min(jt, max(room, 0)), min(jf, max(room, 0))
        elif op == Op.LD_ABS:
            k = k % 16 * 4
        mended = Instruction(op, jt, jf, k)
        # What is still wrong, alone or here, is left out as a load of its own.
        try:
            check_program([Instruction(Op.ST, 0, 0, word) for word in range(16)] + [mended])
            fine = True
        except InvalidProgram as error:
            fine = error.index != 16 or "is the last one" in str(error)
            fine = fine or "skips" in str(error)
        reads = op in (Op.LD_MEM, Op.LDX_MEM)
        taken.append(mended if fine and not reads else ld_abs(16))
    taken[-1] = code[-1]
    return taken


@settings(max_examples=300, deadline=None)
@given(valid_programs(), st.booleans(), st.booleans(), st.none() | st.sampled_from(Arch))
def test_every_valid_program_comes_back(
    code: list[Instruction], little: bool, names: bool, arch: Arch | None
) -> None:
    """The text of a program that the kernel takes is assembled to the same instructions."""
    check_program(code)
    text = disassemble(code, little=little, names=names, arch=arch)
    assert assemble(text, little=little).instructions == tuple(code)


@settings(max_examples=300, deadline=None)
@given(st.lists(instructions, max_size=40), st.booleans(), st.booleans())
@example([ja(0xFFFFFFFF)], True, False)
@example([jeq(1, 255, 255)], True, True)
@example([Instruction(Op.LD_ABS, 1, 0, 0), Instruction(Op.TAX, 0, 0, 7)], True, True)
def test_any_instructions_come_back(code: list[Instruction], little: bool, names: bool) -> None:
    """Also what no kernel takes, and what it ignores, survives the way through text."""
    text = disassemble(code, little=little, names=names)
    assert assemble(text, little=little, check=False).instructions == tuple(code)
    assert disassemble(code, little=little, names=names) == text


@settings(max_examples=200, deadline=None)
@given(valid_programs(), st.booleans())
def test_text_comes_back(code: list[Instruction], names: bool) -> None:
    """Disassembling what was assembled gives the same text to the letter."""
    text = disassemble(code, names=names)
    assert disassemble(assemble(text), names=names) == text


def error_of(text: str) -> PolicyError | None:
    """The error of assembling *text*, if it is one of ours."""
    try:
        check_program(assemble(text, source="file"))
    except PolicyError as error:
        return error
    return None


def refused_well(text: str) -> None:
    """Assembling ends in a program, or in an error whose place is in the text."""
    error = error_of(text)
    if error is None:
        return
    lines = text.split("\n")
    assert error.source == "file"
    assert error.line is not None
    assert error.column is not None
    assert 1 <= error.line <= len(lines)
    assert 1 <= error.column <= len(lines[error.line - 1]) + 1
    assert "\n" not in str(error)
    assert len(str(error)) < 200


pieces = st.sampled_from(
    [
        *("A", "X", "M", "if", "goto", "return", "else", "code", "jt", "jf", "k", "len", "nr"),
        *("arch", "low", "high", "args", "data", "instruction_pointer", "ALLOW", "ERRNO", "EPERM"),
        *("x86_64", "x86_64:openat", "i386:nothing", "L1", "L1:", "0x10", "5", "0x", "99999999999"),
        *("=", "==", "!=", "!&", "&=", "<<=", "-", "(", ")", "[", "]", ":", ";", "#", "\n", "\t"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=30).map(" ".join) | st.text(max_size=60))
def test_any_text_is_assembled_or_refused(text: str) -> None:
    """Nothing that somebody types raises anything but an error with its place."""
    refused_well(text)


@settings(max_examples=200, deadline=None)
@given(valid_programs(), st.data())
def test_damaged_text_is_assembled_or_refused(code: list[Instruction], data: st.DataObject) -> None:
    """A good text with a few characters changed ends in a program or a placed error."""
    text = disassemble(code, names=True)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(at, min(at + 4, len(text))))
        text = text[:at] + data.draw(pieces | st.text(max_size=3)) + text[end:]
    refused_well(text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.lists(instructions, max_size=10).map(encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Reading any bytes as a filter ends in one, or in one of our own errors."""
    raw = raw + b"\0" if b"\0" not in raw else raw
    try:
        found: object = parse(raw, "file", native=Arch.X86_64)
    except (PolicyError, CommandError) as error:
        found = f"{getattr(error, 'source', '')} {error}"
    assert "file" in found if isinstance(found, str) else found == Program(decode(raw))


def test_actions_have_names() -> None:
    """Each action, with and without data, is written by name and read back."""
    for action in Action:
        for data in (0, 1, 4095, 0xFFFF):
            text = disassemble([ret(action | data)], names=True)
            assert action.name in text
            (found,) = assemble(text).instructions
            assert found.k & ACTION_MASK == action
            assert found.k == action | data
