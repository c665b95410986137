from __future__ import annotations

import errno

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Instruction, Op, Program, compile_filter, disassemble
from unotify.bpf.assembler import assemble, looks_like_assembly
from unotify.bpf.instructions import ja, jeq, jge, jgt, jset, ld_abs, ret
from unotify.errors import InvalidProgram, PolicyError, UnknownName

MOUNT, OPENAT = 165, 257


def one(text: str) -> Instruction:
    """The instruction that a line makes; it may jump to L."""
    return assemble(f"{text}\nreturn A\nL: return A", check=False).instructions[0]


def problem(text: str) -> tuple[int | None, int | None, str, str | None]:
    """Where and what the error is."""
    with pytest.raises(PolicyError) as caught:
        assemble(text)
    error = caught.value
    return error.line, error.column, str(error), error.hint


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("A = nr", ld_abs(0)),
        ("A = low(args[0])", ld_abs(16)),
        ("A = high(instruction_pointer)", ld_abs(12)),
        ("A=data[17]", ld_abs(17)),
        ("A = 10", Instruction(Op.LD_IMM, 0, 0, 10)),
        ("A = x86_64:openat", Instruction(Op.LD_IMM, 0, 0, OPENAT)),
        ("A &= 0o17", Instruction(Op.AND_K, 0, 0, 15)),
        ("A <<= X", Instruction(Op.LSH_X, 0, 0, 0)),
        ("A = - A", Instruction(Op.NEG, 0, 0, 0)),
        ("M [ 3 ] = X", Instruction(Op.STX, 0, 0, 3)),
        ("X = len", Instruction(Op.LDX_LEN, 0, 0, 0)),
        ("goto L", ja(1)),
        ("if A == 0xc000003e goto L", jeq(Arch.X86_64.audit, 1, 0)),
        ("if A == AUDIT_ARCH_S390X goto L", jeq(Arch.S390X.audit, 1, 0)),
        ("if A != i386 goto L", jeq(Arch.I386.audit, 0, 1)),
        ("if A < x32:openat goto L", jge(0x40000000 + OPENAT, 0, 1)),
        ("if A <= 7 goto L", jgt(7, 0, 1)),
        ("if A !& 7 goto L else goto L", jset(7, 1, 1)),
        ("if A != EPERM goto L", jeq(1, 0, 1)),
        ("if A > X goto L", Instruction(Op.JGT_X, 1, 0, 0)),
        ("return ERRNO(EPERM)", ret(Action.ERRNO | errno.EPERM)),
        ("return ERRNO(EAGAIN)", ret(Action.ERRNO | errno.EWOULDBLOCK)),
        ("return TRAP ( 7 )", ret(Action.TRAP | 7)),
        ("return 0x12345678", ret(0x12345678)),
        ("return A ; whatever", Instruction(Op.RET_A, 0, 0, 0)),
        ("code 0x94 jt 1 jf 2 k 0x3", Instruction(0x94, 1, 2, 3)),
    ],
)
def test_statements(text: str, instruction: Instruction) -> None:
    """Each form of a statement, with numbers in any base and names in their place."""
    assert one(text) == instruction


def test_labels_and_comments() -> None:
    """Labels stand before a statement, alone, or several at once; comments go anywhere."""
    text = """
        # a filter
        start:  A = nr          ; the number
                if A == x86_64:mount goto no
        yes:
        also_yes: return ALLOW

        no: nope:return ERRNO(EPERM) # refused
    """
    assert assemble(text) == Program(
        (ld_abs(0), jeq(MOUNT, 1, 0), ret(Action.ALLOW), ret(Action.ERRNO | 1))
    )


def test_a_compiled_filter_by_name() -> None:
    """Golden: calls, architectures and errnos of a compiled filter are told by name."""
    program = compile_filter(
        {Arch.X86_64: {MOUNT: Action.ERRNO | errno.EPERM}},
        default=int(Action.ALLOW),
        bad_arch=Action.KILL_PROCESS,
    )
    text = disassemble(program, names=True)
    assert "!= x86_64 goto" in text
    assert "x86_64:mount" in text
    assert "return ERRNO(EPERM)\n" in text
    assert assemble(text) == program


def test_names_only_where_they_are_sure() -> None:
    """A number is a call's only where the architecture is known, and a number is compared."""
    code = [
        ld_abs(0),
        jeq(MOUNT, 8, 0),  # of which architecture?
        ld_abs(4),
        jeq(Arch.X86_64.audit, 0, 2),
        ld_abs(0),
        jeq(MOUNT, 4, 0),
        ld_abs(16),
        jeq(MOUNT, 2, 0),  # two ways lead here
        jeq(Arch.I386.audit, 1, 0),
        ret(Action.ALLOW),
        ret(0),
    ]
    text = disassemble(code, names=True).splitlines()
    assert "0xa5" in text[1]
    assert "x86_64" in text[3]
    assert "x86_64:mount" in text[5]
    assert "0xa5" in text[7]
    assert "0x40000003" in text[8]
    assumed = disassemble(code, names=True, arch=Arch.I386).splitlines()
    assert "i386:setresgid" not in assumed[1]
    assert "i386:getresuid" in assumed[1]


def test_big_endian() -> None:
    """On big-endian machines low is the second word."""
    text = "A = low(args[1])\nreturn A"
    assert assemble(text, little=False).instructions[0] == ld_abs(28)
    assert assemble(text).instructions[0] == ld_abs(24)


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("A = nr\n  retrun ALLOW", 2, 3, "no statement begins with retrun", "return?"),
        ("return ALOW", 1, 8, "no action is named ALOW", "ALLOW?"),
        ("return ERRNO(EPREM)", 1, 14, "no number is named EPREM", "EPERM?"),
        ("return ERRNO(0x10000)", 1, 14, "0x10000 is too large: the data of an action", None),
        ("return ERRNO(1", 1, 15, "the line ends where ) is expected", None),
        ("if A == x86_46 goto L", 1, 9, "no number is named x86_46", "x86_64?"),
        ("if A == x86_64:opnat goto L", 1, 9, "x86_64 has no call opnat", "openat?"),
        ("if A == x8664:openat goto L", 1, 9, "no architecture is named x8664", "x86_64?"),
        ("if A == openat goto L", 1, 9, "no number is named openat", "x86_64:openat"),
        ("if A ~ 1 goto L", 1, 6, "'~' means nothing here", None),
        ("if A = 1 goto L", 1, 6, "= stands where one of == > >=", None),
        ("if X == 1 goto L", 1, 4, "X stands where A is expected", None),
        ("goto 5", 1, 6, "5 stands where a label is expected", None),
        ("goto lable\nlabel: return A", 1, 6, "there is no label lable", "label?"),
        ("L: A = nr\ngoto L", 2, 6, "not further down", None),
        ("goto L\nreturn A\nL:", 1, 6, "no instruction follows the label L", None),
        ("L: A = nr\nL: return A", 2, 1, "there is a label L already, in line 1", None),
        ("if: return A", 1, 1, "if cannot be a label", None),
        ("A = args[1]", 1, 5, "args has 64 bits, and A has 32", "low(args[0])"),
        ("A = low(arsg[1])", 1, 9, "no field is named arsg", "args?"),
        ("A = low(args[6])", 1, 14, "6 is too large", None),
        ("A = 4294967296", 1, 5, "4294967296 is too large", None),
        ("A = " + "9" * 5000, 1, 5, "9... is too large", None),
        ("A = 0xfg", 1, 5, "0xfg is no number", "0xa"),
        ("A = nr nr", 1, 8, "nr stands where the end of the line is expected", None),
        ("A", 1, 2, "the line ends where = or an operation", None),
        ("X += 1", 1, 3, "+= stands where = is expected", None),
        ("code 0x15 jt 256 jf 0 k 0", 1, 14, "256 is too large: jt is at most 0xff", None),
        ("A = data[64]\nreturn A", 1, 1, "instruction 0 loads from 64", None),
        ("  A = nr", 1, 3, "instruction 0 is the last one and no return", None),
        ("A = M[2]\nreturn A", 1, 1, "reads scratch word 2", None),
        ("", 1, 1, "has 0", None),
    ],
)
def test_errors_say_where_and_what(
    text: str, line: int, column: int, message: str, hint: str | None
) -> None:
    """Each mistake has its line and column, and the nearest right word where there is one."""
    found = problem(text)
    assert found[:2] == (line, column)
    assert message in found[2]
    assert (hint or "") in (found[3] or "")
    if hint is None:
        assert found[3] is None


def test_far_jumps() -> None:
    """A conditional jump reaches 255 instructions, a goto any; beyond is an error at its label."""
    filling = "A = nr\n" * 255
    assert assemble(f"if A == 1 goto L\n{filling}L: return A").instructions[0] == jeq(1, 255, 0)
    found = problem(f"if A == 1 goto L\nA = nr\n{filling}L: return A")
    assert found == (
        *(1, 16, "L is 256 instructions away: conditional jumps skip at most 255"),
        "jump to a goto nearby",
    )
    assert assemble(f"goto L\n{filling * 3}L: return A").instructions[0] == ja(765)


def test_kinds_of_errors() -> None:
    """Names that mean nothing and programs that no kernel takes have their own errors."""
    with pytest.raises(UnknownName):
        assemble("return ALOW")
    with pytest.raises(InvalidProgram) as caught:
        assemble("A = nr", source="file.txt")
    assert (caught.value.source, caught.value.index) == ("file.txt", 0)
    assert assemble("A = nr", check=False).instructions == (ld_abs(0),)


def test_too_many_instructions() -> None:
    """The text ends where the kernel's limit is passed: nothing of it is read twice."""
    found = problem("return A\n" * 5000)
    assert found[:3] == (4097, 1, "more than 4096 instructions: the kernel takes no more")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("; comment\n\n        A = arch\n", True),
        ("L0:     return ALLOW", True),
        ("start:\n A = nr", True),
        ("if A == 1 goto x", True),
        ("code 0x15 jt 1 jf 0 k 0x1", True),
        ("# a policy\nversion = 1\n", False),
        ('default = "allow"', False),
        ("[sets]\nA = 1", False),
        ("Arch = 1", False),
        ("return_to = 1", False),
        ("", False),
    ],
)
def test_assembly_is_told_from_policies(text: str, expected: bool) -> None:
    """The first statement tells."""
    assert looks_like_assembly(text) is expected
