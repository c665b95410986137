"""A program as something to keep: bytes, C, JSON, text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from errno import errorcode
from types import MappingProxyType
from typing import Final

from unotify.abi.seccomp import ACTION_MASK, DATA_MASK, Action
from unotify.bpf.disassembler import disassemble
from unotify.bpf.instructions import Program
from unotify.errors import UnknownName

__all__ = ["FORMATS", "action_text", "render", "to_c", "to_json", "to_raw", "to_text"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def action_text(value: int) -> str:
    """What a filter returns, for people: ``ALLOW``, ``ERRNO(EPERM)``, ``TRAP(3)``."""
    data = value & DATA_MASK
    try:
        action = Action(value & ACTION_MASK)
    except ValueError:
        return f"{value:#x} (KILL_PROCESS)"
    if action is Action.ERRNO:
        return f"ERRNO({errorcode.get(data, data)})"
    return f"{action.name}({data})" if data else action.name


def to_raw(program: Program) -> bytes:
    """The array of ``struct sock_filter`` as seccomp(2) takes it, in native byte order."""
    return program.encode()


def to_c(program: Program, name: str = "filter") -> bytes:
    """C source with the program as an array, and its ``struct sock_fprog``.

    Args:
        program: What to write.
        name: What to call the array; the sock_fprog is called *name* + ``_program``.

    Raises:
        UnknownName: *name* is no C identifier.
    """
    if not _IDENTIFIER.fullmatch(name):
        raise UnknownName(f"{name!r} is no name in C", hint="letters, digits and _, no digit first")
    lines = disassemble(program).splitlines()
    rows = (
        f"\t{{ 0x{code:02x}, {jt:3}, {jf:3}, 0x{k:08x} }},\t/* {at:4}: {text.strip()} */"
        for at, ((code, jt, jf, k), text) in enumerate(
            zip(program.instructions, lines, strict=True)
        )
    )
    source = "\n".join(
        [
            f"/* A seccomp filter of {len(program)} instructions, compiled by unotify. */",
            "#include <linux/filter.h>",
            "",
            f"static struct sock_filter {name}[{len(program)}] = {{",
            *rows,
            "};",
            "",
            f"static struct sock_fprog {name}_program __attribute__((unused)) = {{",
            f"\t.len = {len(program)},",
            f"\t.filter = {name},",
            "};",
            "",
        ]
    )
    return source.encode()


def to_json(program: Program) -> bytes:
    """A JSON object with the instructions, each as its four numbers and as text."""
    lines = disassemble(program).splitlines()
    body = ",\n".join(
        "    "
        + json.dumps({"code": code, "jt": jt, "jf": jf, "k": k, "text": " ".join(text.split())})
        for (code, jt, jf, k), text in zip(program.instructions, lines, strict=True)
    )
    return f'{{\n  "length": {len(program)},\n  "instructions": [\n{body}\n  ]\n}}\n'.encode()


def to_text(program: Program) -> bytes:
    """The disassembly, which ``unotify asm`` reads back."""
    return disassemble(program).encode()


FORMATS: Final = MappingProxyType(
    {"raw": to_raw, "c": to_c, "json": to_json, "text": to_text},
)
"""The formats by name."""


def render(program: Program, form: str) -> bytes:
    """Write *program* in a format of `FORMATS`.

    Raises:
        UnknownName: There is no such format.
    """
    writer: Callable[[Program], bytes] | None = FORMATS.get(form)
    if writer is None:
        raise UnknownName(f"there is no format {form!r}", hint=f"there are {', '.join(FORMATS)}")
    return writer(program)
