"""The filters of the example policies, as text: a change of the compiler shows what it changes.

``UNOTIFY_GOLDEN=write`` writes them anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unotify.abi.arch import Arch
from unotify.bpf import disassemble
from unotify.policy.compiling import compile_policy
from unotify.policy.loader import load

POLICIES = Path(__file__).parents[1] / "examples" / "policies"
GOLDEN = Path(__file__).parent / "golden"
NATIVE = (Arch.X86_64, Arch.AARCH64, Arch.RISCV64, Arch.S390X)
# These are about one architecture, or name calls that only x86 has.
X86_ONLY = ("ai-agent", "fault-injection", "i386", "staged-build")


def cases() -> list[tuple[str, Arch]]:
    """Each policy for each architecture that it is for."""
    names = sorted(path.stem for path in POLICIES.glob("*.toml"))
    return [
        (name, arch)
        for name in names
        for arch in NATIVE
        if arch is Arch.X86_64 or name not in X86_ONLY
    ]


@pytest.mark.parametrize(
    ("name", "arch"), cases(), ids=lambda value: getattr(value, "label", value)
)
def test_golden(name: str, arch: Arch) -> None:
    """The compiled policy is the one that was looked at and found good."""
    policy = load(
        (POLICIES / f"{name}.toml").read_text(),
        source=f"{name}.toml",
        include=lambda other: (POLICIES / other).read_text(),
        native=arch,
    )
    text = disassemble(compile_policy(policy))
    golden = GOLDEN / f"{name}.{arch.label}.txt"
    if os.environ.get("UNOTIFY_GOLDEN") == "write":
        golden.write_text(text if text.endswith("\n") else text + "\n")
    assert text.rstrip("\n") == golden.read_text().rstrip("\n")
