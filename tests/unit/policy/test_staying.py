"""Which filters keep their targets where they are: `unotify.policy.staying`."""

from __future__ import annotations

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.constants import CloneFlags
from unotify.bpf import SeccompData, decode, simulate
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load
from unotify.policy.staying import stays

HERE = (Arch.X86_64, Arch.I386, Arch.X32)
"""What an x86-64 kernel may be asked by."""

LEADING = ("chroot", "pivot_root", "setns", "unshare", "clone3")

KEEPS = """
version = 1
default = "allow"
architectures = [{architectures}]
bad-architecture = "{foreign}"

[[rule]]
calls = [{calls}]
do = {refusal}

[[rule]]
calls = ["clone"]
where = "{clone}"
do = "deny"

[[rule]]
calls = ["openat"]
do = "perform"
"""

USUAL = {
    "architectures": '"x86_64"',
    "foreign": "kill-process",
    "calls": ", ".join(f'"{name}"' for name in LEADING),
    "refusal": '"deny"',
    "clone": "flags & (CLONE_NEWUSER | CLONE_NEWNS)",
}


def program(native: Arch = Arch.X86_64, **changed: str) -> bytes:
    """The filter of a policy like the one above."""
    return compile_policy(load(KEEPS.format(**USUAL | changed), native=native)).encode()


@pytest.mark.parametrize("refusal", ['"deny"', '"kill-process"', '{ fail = "ENOSYS" }', '"trap"'])
def test_refused_by_the_filter(refusal: str) -> None:
    """A filter that refuses all that leads elsewhere keeps its targets, however it refuses."""
    assert stays(program(refusal=refusal), HERE)


@pytest.mark.parametrize("name", LEADING)
def test_one_way_out(name: str) -> None:
    """One call that is allowed is enough to get elsewhere."""
    rest = ", ".join(f'"{each}"' for each in LEADING if each != name)
    assert not stays(program(calls=rest), HERE)


@pytest.mark.parametrize("refusal", ['"log"', '"allow"', '"notify"'])
def test_not_refused(refusal: str) -> None:
    """What is logged, or left to a supervisor, is not refused by the filter."""
    assert not stays(program(refusal=refusal), HERE)


@pytest.mark.parametrize(
    ("clone", "expected"),
    [
        ("flags & CLONE_NEWUSER", False),
        ("flags & CLONE_NEWNS", False),
        ("flags & (CLONE_NEWUSER | CLONE_NEWNS) == CLONE_NEWUSER | CLONE_NEWNS", False),
        ("flags & CLONE_NEWUSER or flags & CLONE_NEWNS", True),
        ("flags & (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)", True),
        ("flags & (CLONE_NEWUSER | CLONE_NEWNS) and stack != 0", False),
    ],
)
def test_flags_of_clone(clone: str, *, expected: bool) -> None:
    """Each of the two flags has to be refused, with whatever else."""
    assert stays(program(clone=clone), HERE) is expected


def test_another_abi() -> None:
    """The i386 and x32 forms of the calls lead elsewhere too."""
    assert stays(program(architectures='"x86_64", "i386", "x32"'), HERE)
    assert not stays(program(foreign="allow"), HERE)
    assert stays(program(foreign="allow"), (Arch.X86_64,))


def test_flags_in_another_register() -> None:
    """s390x has the flags of clone in the second register, and words the other way round."""
    there = program(Arch.S390X, architectures='"s390x"')
    assert stays(there, (Arch.S390X,))
    nr, flags = tables.number("clone", Arch.S390X), int(CloneFlags.CLONE_NEWUSER)
    assert nr is not None
    first = SeccompData(nr, Arch.S390X.audit, (flags, 0, 0, 0, 0, 0))
    second = SeccompData(nr, Arch.S390X.audit, (0, flags, 0, 0, 0, 0))
    assert simulate(decode(there), first) != simulate(decode(there), second)


def test_what_cannot_be_followed() -> None:
    """Of a filter that nobody can read it is not said that it keeps anybody."""
    # ld [0]; mul #3; tax; ret a
    code = b"".join(
        word.to_bytes(2, "little") + b"\0\0" + k.to_bytes(4, "little")
        for word, k in ((0x20, 0), (0x24, 3), (0x16, 0))
    )
    assert not stays(code, HERE)
