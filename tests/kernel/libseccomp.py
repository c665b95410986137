"""libseccomp, asked through the system's own Python, and where it has its own mind.

It takes Debian's python3-seccomp, and is told what runc tells it.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import random
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import missing
from unotify.abi import tables
from unotify.abi.arch import X32_BIT, Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Instruction, Op

__all__ = [
    "ARCHES",
    "HOSTS",
    "LARGEST",
    "ask",
    "decoded",
    "explained",
    "numbers_of",
    "questions",
]

DRIVER = Path(__file__).with_name("libseccomp_filter.py")
PYTHON = "/usr/bin/python3"
PACKAGE = "the Debian package python3-seccomp"

# What Go, libseccomp and profiles call the hosts' architectures.
HOSTS = {
    Arch.X86_64: ("amd64", "SCMP_ARCH_X86_64"),
    Arch.AARCH64: ("arm64", "SCMP_ARCH_AARCH64"),
    Arch.RISCV64: ("riscv64", "SCMP_ARCH_RISCV64"),
    Arch.PPC64LE: ("ppc64le", "SCMP_ARCH_PPC64LE"),
    Arch.S390X: ("s390x", "SCMP_ARCH_S390X"),
    Arch.MIPS64: ("mips64", "SCMP_ARCH_MIPS64"),
    Arch.MIPSEL64: ("mipsel64", "SCMP_ARCH_MIPSEL64"),
}
ARCHES = {"x86": Arch.I386} | {arch.label: arch for arch in Arch}

LARGEST = (1 << 64) - 1


@functools.cache
def binding() -> str | None:
    """Why libseccomp cannot be asked."""
    if not Path(PYTHON).exists():
        return f"there is no {PYTHON}"
    asked = subprocess.run([PYTHON, "-c", "import seccomp"], capture_output=True, check=False)
    return f"it takes {PACKAGE}" if asked.returncode else None


def ask(requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What libseccomp makes of them."""
    if (reason := binding()) is not None:
        missing(reason)
    done = subprocess.run(
        [PYTHON, str(DRIVER)],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def decoded(answer: Mapping[str, Any], native: Arch) -> tuple[Instruction, ...]:
    """The program of an answer, also one for a machine of the other endianness."""
    raw = base64.b64decode(answer["program"])
    if native.little:
        return tuple(Instruction(*fields) for fields in struct.iter_unpack("<HBBI", raw))
    found = [Instruction(*fields) for fields in struct.iter_unpack(">HBBI", raw)]
    # Fault of libseccomp 2.5: for such a machine it leaves most of what is returned in our order.
    actions = [int(action) for action in Action if action]
    return tuple(
        Instruction(op, jt, jf, int.from_bytes(k.to_bytes(4, "big"), "little"))
        if op == Op.RET_K and k & 0xFFFF0000 not in actions
        else Instruction(op, jt, jf, k)
        for op, jt, jf, k in found
    )


def questions(rules: Sequence[Any]) -> dict[str, list[tuple[int, ...]]]:
    """For each call with conditions: arguments around all that it is compared with."""
    numbers: dict[str, dict[int, set[int]]] = {}
    for _, _, call, args in rules:
        for index, _, value, two in args:
            around = {0, LARGEST, value, value ^ 1, value - 1, value + 1, two, value | 1 << 40}
            around |= {value | 1 << bit for bit in (0, 3, 17, 31, 32, 63)}
            known = numbers.setdefault(call, {}).setdefault(index, set())
            known |= {number & LARGEST for number in around}
    found = {}
    for call, by_index in numbers.items():
        product = itertools.product(*(sorted(values) for values in by_index.values()))
        chosen = [dict(zip(by_index, values, strict=True)) for values in product]
        if len(chosen) > 600:
            chosen = random.Random(0).sample(chosen, 600)
        found[call] = [tuple(values.get(at, 0) for at in range(6)) for values in chosen]
    return found


def numbers_of(arch: Arch) -> Iterator[int]:
    """All numbers that a kernel of *arch* has, and some that none has."""
    known = tables.names(arch)
    yield from sorted(known)
    base = X32_BIT if arch is Arch.X32 else 0
    yield from (nr for nr in range(base, max(known) + 40) if nr not in known and nr < base + 1200)


def explained(
    name: str | None,
    arch: Arch,
    args: Sequence[int],
    theirs: int,
    answer: Mapping[str, Any],
    default: int,
) -> bool:
    """Whether one of the reasons accounts for a difference."""
    refused = {call for call, _ in answer["refused"]}
    if name is None:
        # We: no such call, ENOSYS. They: the profile's default, and so runc adds ENOSYS to it.
        return theirs == default
    if name in refused or (theirs == default and name in NEWER):
        return True  # an older libseccomp does not know the call, here or on that architecture
    # They look at the lower half of a register that the kernel looks at as a whole.
    return arch in (Arch.X32, Arch.MIPS64N32, Arch.MIPSEL64N32) and any(
        value >> 32 for value in args
    )


# Calls that have become known since libseccomp 2.5.4, at least on some architectures.
NEWER = frozenset(
    {"map_shadow_stack", "uretprobe", "riscv_hwprobe", "listmount", "statmount", "mseal"}
)
