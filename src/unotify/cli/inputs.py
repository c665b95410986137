"""Reading policies and filters, told apart by what is in them.

A filter is raw BPF, the text that ``unotify disasm`` prints, or the JSON of
``unotify compile``; a policy is TOML or an OCI profile. Names of files tell nothing.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from unotify.abi.arch import Arch
from unotify.bpf.assembler import assemble, looks_like_assembly
from unotify.bpf.checker import check_program
from unotify.bpf.instructions import Instruction, Program, decode
from unotify.cli.failures import CommandError, Exit
from unotify.errors import InvalidProgram, PolicyError
from unotify.policy.model import Policy

__all__ = [
    "MOST",
    "Tailed",
    "load_any",
    "load_policy",
    "load_program",
    "named",
    "parse",
    "read_bytes",
    "read_instructions",
    "read_text",
    "tail",
]

MOST: Final = 16 << 20
"""The most bytes that a file may have: /dev/zero ends too."""

_TAIL: Final = "unotify.tail"
_OBJECT: Final = re.compile(r"\s*\{")

Found: TypeAlias = Policy | Program


def load_policy(path: str, *, native: Arch | None = None) -> Policy:
    """Read the policy in *path*: TOML or an OCI profile; ``-`` is standard input.

    Args:
        path: The file.
        native: What the policy means by ``native``; this machine's ABI by default.

    Raises:
        CommandError: It cannot be read, or is no policy.
        InvalidPolicy: It has mistakes.
    """
    found = load_any(path, native=native)
    if isinstance(found, Program):
        raise CommandError(
            f"{named(path)} is a filter, not a policy",
            Exit.USAGE,
            hint="a policy is TOML or an OCI profile; see 'unotify disasm' for filters",
        )
    return found


def load_program(path: str, *, native: Arch | None = None) -> Program:
    """Read the filter in *path*; a policy is compiled.

    Args:
        path: The file, or ``-``.
        native: What a policy means by ``native``, and whose byte order text is for.

    Raises:
        CommandError: It cannot be read, or is neither.
        PolicyError: It has mistakes, or the kernel would not take it.
    """
    found = load_any(path, native=native)
    if isinstance(found, Policy):
        from unotify.policy.compiling import compile_policy

        return compile_policy(found)
    return found


def load_any(path: str, *, native: Arch | None = None) -> Found:
    """Read a policy or a filter, whichever *path* has.

    Args:
        path: The file, or ``-``.
        native: As for `load_policy` and `load_program`.

    Raises:
        CommandError: It cannot be read, or is neither.
        PolicyError: It has mistakes, or the kernel would not take it.
    """
    return parse(read_bytes(path), named(path), directory=_directory(path), native=native)


def parse(
    data: bytes, source: str, *, directory: Path | None = None, native: Arch | None = None
) -> Found:
    """Make a policy or a filter of *data*.

    Args:
        data: The content of a file.
        source: What messages call it.
        directory: Where files that it includes are looked for.
        native: As for `load_policy` and `load_program`.

    Raises:
        CommandError: It is neither.
        PolicyError: It has mistakes, or the kernel would not take it.
    """
    abi = native or _native()
    text = _text(data)
    if text is None:
        return _checked(_raw(data, source), source)
    if not text.strip():
        raise CommandError(
            f"{source} is empty",
            Exit.POLICY,
            hint='the least policy is two lines: version = 1 and default = "allow"',
        )
    if _OBJECT.match(text):
        return _json(text, source, abi)
    if looks_like_assembly(text):
        return assemble(text, source=source, little=abi.little)
    from unotify.policy.loader import load

    base = directory or Path()
    return load(text, source=source, include=lambda name: _included(base, name), native=abi)


def read_instructions(path: str, *, native: Arch | None = None) -> tuple[Instruction, ...]:
    """Read the filter in *path* as `load_program`, but ones the kernel would refuse too.

    Text is no such form: it has no words for what the kernel refuses.

    Raises:
        CommandError: It cannot be read, or is neither filter nor policy.
        PolicyError: It has mistakes.
    """
    data = read_bytes(path)
    text = _text(data)
    if text is None:
        return _raw(data, named(path))
    rows = _rows(text)
    if rows is not None:
        return _listed(rows, named(path))
    found = parse(data, named(path), directory=_directory(path), native=native)
    if isinstance(found, Policy):
        from unotify.policy.compiling import compile_policy

        found = compile_policy(found)
    return found.instructions


def read_bytes(path: str) -> bytes:
    """The content of a file, or of standard input for ``-``.

    Raises:
        CommandError: It cannot be read, or is too large to be meant.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MOST + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MOST + 1)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", Exit.USAGE) from None
    except ValueError as error:
        raise CommandError(f"cannot read {path!r}: {error}", Exit.USAGE) from None
    if len(data) > MOST:
        raise CommandError(
            f"{named(path)} has more than {MOST >> 20} MiB: it is no policy and no filter",
            Exit.USAGE,
        )
    return data


def read_text(path: str) -> str:
    """The text in a file, or of standard input for ``-``.

    Raises:
        CommandError: It cannot be read, or is no text.
    """
    text = _text(read_bytes(path))
    if text is None:
        raise CommandError(f"{named(path)} is no text in UTF-8", Exit.POLICY)
    return text


class Tailed(click.Command):
    """A command whose arguments end at ``--``; `tail` has what follows."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take off what follows the first ``--``."""
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[_TAIL] = args[:at], tuple(args[at + 1 :])
        return super().parse_args(ctx, args)


def tail() -> tuple[str, ...] | None:
    """What follows the ``--`` of the command that runs, or ``None`` without one."""
    found: tuple[str, ...] | None = click.get_current_context().meta.get(_TAIL)
    return found


def _native() -> Arch:
    from unotify.kernel import default_kernel

    return default_kernel().arch


def named(path: str) -> str:
    """What messages call *path*."""
    return "standard input" if path == "-" else path


def _directory(path: str) -> Path:
    return Path() if path == "-" else Path(path).parent


def _included(base: Path, name: str) -> str:
    with open(base / name, "rb") as file:
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise PolicyError(f"{name} has more than {MOST >> 20} MiB: it is no policy")
    return data.decode("utf-8-sig")


def _text(data: bytes) -> str | None:
    """*data* as text, or ``None``: no text has a NUL, and each instruction has."""
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _raw(data: bytes, source: str) -> tuple[Instruction, ...]:
    try:
        return decode(data)
    except ValueError as error:
        raise CommandError(
            f"{source} is neither text nor a filter: {error}",
            Exit.POLICY,
            hint="policies are TOML or JSON in UTF-8; a raw filter has 8 bytes an instruction",
        ) from None


def _checked(code: tuple[Instruction, ...], source: str) -> Program:
    try:
        check_program(code)
    except InvalidProgram as error:
        hint = error.hint
        if _swapped(code):
            hint = "its bytes are in the order of another kind of machine"
        failed = InvalidProgram(f"this is no filter: {error}", index=error.index, hint=hint)
        failed.source = source
        raise failed from None
    return Program(code)


def _swapped(code: tuple[Instruction, ...]) -> bool:
    try:
        check_program([_swap(instruction) for instruction in code])
    except InvalidProgram:
        return False
    return True


def _swap(instruction: Instruction) -> Instruction:
    code = int.from_bytes(instruction.code.to_bytes(2, "little"), "big")
    k = int.from_bytes(instruction.k.to_bytes(4, "little"), "big")
    return instruction._replace(code=code, k=k)


def _json(text: str, source: str, native: Arch) -> Found:
    """An OCI profile, or a filter as `unotify.bpf.formats.to_json` writes it."""
    rows = _rows(text)
    if rows is not None:
        return _checked(_listed(rows, source), source)
    from unotify.policy.oci import import_profile

    return import_profile(text, source=source, native=native)


def _rows(text: str) -> Any:
    """The instructions in the JSON of a filter, or ``None`` if it is none."""
    if not _OBJECT.match(text):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None  # the reader of profiles says where and why
    return None if "syscalls" in document else document.get("instructions")


def _listed(rows: Any, source: str) -> tuple[Instruction, ...]:
    if not isinstance(rows, list):
        raise PolicyError("the instructions of a filter are an array", source=source)
    limits = {"code": 0xFFFF, "jt": 0xFF, "jf": 0xFF, "k": 0xFFFFFFFF}
    found = []
    for at, row in enumerate(rows):
        values = [row.get(name) if isinstance(row, dict) else None for name in limits]
        for value, (name, most) in zip(values, limits.items(), strict=True):
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
                raise PolicyError(
                    f"instruction {at} needs a number from 0 to {most} as {name!r}", source=source
                )
        found.append(Instruction(*values))  # type: ignore[arg-type]  # each was looked at
    return tuple(found)
