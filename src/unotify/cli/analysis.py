"""What the commands share that look into policies and filters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from unotify.abi import constants, model, tables
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec, Role
from unotify.bpf import Program, SeccompData
from unotify.cli.failures import CommandError, Exit, typed
from unotify.policy.model import Policy, Rule

__all__ = [
    "ARCHES",
    "call_json",
    "call_text",
    "chosen",
    "compiled",
    "native",
    "number_of",
    "rule_json",
    "write",
]

ARCHES = {arch.label: arch for arch in Arch}


def native() -> Arch:
    """This machine's ABI."""
    from unotify.kernel import default_kernel

    return default_kernel().arch


def chosen(label: str | None) -> Arch:
    """The ABI called *label*, or this machine's."""
    return ARCHES[label] if label else native()


def number_of(call: str, arch: Arch) -> int:
    """The number of *call*, or the number that it spells.

    Raises:
        CommandError: No call is named so, there is none on *arch*, or it is no number of 32 bits.
    """
    try:
        number = int(call, 0)
    except ValueError:
        with typed():
            found = tables.number(model.spec(call).name, arch)
    else:
        if not -(1 << 31) <= number < 1 << 32:
            raise CommandError(f"{call[:40]}: numbers of calls have 32 bits", Exit.USAGE)
        found = number & 0xFFFFFFFF
    if found is None:
        there = " ".join(other.label for other in Arch if tables.number(call, other) is not None)
        raise CommandError(
            f"{arch.label} has no call {call}", Exit.USAGE, hint=f"there is one on {there}"
        )
    return found


def call_text(data: SeccompData, arch: Arch | None, given: Mapping[str, str] | None = None) -> str:
    """A call with its arguments: ``openat(dirfd=AT_FDCWD, path=0x0, flags=O_CREAT, mode=0x0)``.

    Args:
        data: The call.
        arch: Its architecture, or ``None`` if no table has it.
        given: What to show for some arguments, by name.
    """
    name = tables.name(data.nr, arch) if arch is not None else None
    if arch is None or name is None:
        where = f", audit architecture {data.arch:#x}" if arch is None else f" of {arch.label}"
        shown = ", ".join(f"{value:#x}" for value in data.args)
        return f"number {data.nr:#x}{where} ({shown})"
    shown = ", ".join(
        f"{arg.name}={(given or {}).get(arg.name) or _value(data.args[arg.index], arg, arch)}"
        for arg in model.spec(name, arch).args
    )
    return f"{name}({shown})"


def _value(raw: int, arg: ArgSpec, arch: Arch) -> str:
    width = arg.bits or arch.bits
    value = raw & (1 << width) - 1
    if arg.enum is not None:
        cls = getattr(constants, arg.enum)
        translate = getattr(cls, "from_abi", cls)
        try:
            name = getattr(
                translate(value, arch) if translate is not cls else cls(value), "name", ""
            )
        except ValueError:
            name = ""
        # Where upper bits are set that the kernel ignores, all of the register counts.
        return name if name and value == raw else f"{raw:#x}"
    if arg.role is Role.DIRFD and value == 0xFFFFFF9C:
        return "AT_FDCWD"
    return f"{raw:#x}"


def call_json(data: SeccompData, arch: Arch | None) -> dict[str, Any]:
    """A call as JSON."""
    return {
        "arch": arch.label if arch else None,
        "audit": data.arch,
        "call": tables.name(data.nr, arch) if arch is not None else None,
        "nr": data.nr,
        "args": list(data.args),
    }


def rule_json(rule: Rule | None) -> dict[str, Any] | None:
    """Which rule, as JSON."""
    if rule is None:
        return None
    place = rule.place
    return {
        "name": rule.name,
        "source": place.source,
        "line": place.line,
        "because": rule.because,
    }


def compiled(subject: Policy | Program) -> Program:
    """The filter of a policy, or the program itself."""
    from unotify.policy.compiling import compile_policy

    return compile_policy(subject) if isinstance(subject, Policy) else subject


def write(data: bytes, out: str | None) -> None:
    """Write *data* to a file, or to standard output.

    Raises:
        CommandError: It cannot be written.
    """
    if out is None or out == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with open(out, "wb") as file:
            file.write(data)
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}", Exit.USAGE) from None
