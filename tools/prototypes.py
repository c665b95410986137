"""Read the C prototypes of all system calls out of kernel source.

Two facts are joined: the kernel's tables say which function serves a name on an
architecture, and the ``SYSCALL_DEFINE`` macros say what that function takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TABLES", "Source", "Table", "clean_type"]

Prototype = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """One ``syscall.tbl`` and which of its lines count for an ABI.

    Attributes:
        path: In the kernel's source tree.
        abis: The values of its second column.
        directory: The architecture's directory under ``arch``.
    """

    path: str
    abis: str
    directory: str


_X86, _ARM64 = "arch/x86/entry/syscalls", "arch/arm64/tools"
_MIPS, _PPC = "arch/mips/kernel/syscalls", "arch/powerpc/kernel/syscalls/syscall.tbl"
_GENERIC = "scripts/syscall.tbl"

TABLES = {
    "x86_64": Table(f"{_X86}/syscall_64.tbl", "common 64", "x86"),
    "aarch64": Table(f"{_ARM64}/syscall_64.tbl", "common 64 renameat rlimit memfd_secret", "arm64"),
    "riscv64": Table(_GENERIC, "common 64 riscv memfd_secret", "riscv"),
    "s390x": Table("arch/s390/kernel/syscalls/syscall.tbl", "common 64", "s390"),
    "ppc64": Table(_PPC, "common nospu 64", "powerpc"),
    "mips64": Table(f"{_MIPS}/syscall_n64.tbl", "n64", "mips"),
    "arm": Table("arch/arm/tools/syscall.tbl", "common eabi", "arm"),
    "m68k": Table("arch/m68k/kernel/syscalls/syscall.tbl", "common", "m68k"),
    "i386": Table(f"{_X86}/syscall_32.tbl", "i386", "x86"),
    "ppc": Table(_PPC, "common nospu 32", "powerpc"),
    "mips": Table(f"{_MIPS}/syscall_o32.tbl", "o32", "mips"),
    "sh4": Table("arch/sh/kernel/syscalls/syscall.tbl", "common", "sh"),
    "parisc": Table("arch/parisc/kernel/syscalls/syscall.tbl", "common 32", "parisc"),
    "riscv32": Table(_GENERIC, "common 32 riscv memfd_secret", "riscv"),
    "mips64n32": Table(f"{_MIPS}/syscall_n32.tbl", "n32", "mips"),
    "x32": Table(f"{_X86}/syscall_64.tbl", "common x32", "x86"),
}
"""In the order in which they are asked for a call's usual prototype."""

_DEFINE = re.compile(r"\b((?:COMPAT_|PPC32_)?SYSCALL(?:32|64)?_DEFINE)\d\s*\(([^)]*)\)")
_DECLARE = re.compile(r"asmlinkage\s+\w+\s+(sys_\w+)\s*\(([^)]*)\)")
_COMMENT = re.compile(r"/\*.*?\*/", re.S)


def clean_type(ctype: str) -> str:
    """Return *ctype* without what says nothing about the ABI, evenly spaced."""
    ctype = re.sub(r"\b(__user|__force)\b", " ", ctype).replace("*", " * ")
    words = ctype.split()
    if "*" not in words:
        words = [word for word in words if word != "const"]
    # Constness of the pointer itself is nobody's business but the callee's.
    while words and words[-1] == "const":
        words.pop()
    return " ".join(words).replace("* *", "**").replace("const enum", "enum")


def _split_declaration(text: str) -> Prototype:
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(.*?)(\w+)\s*", part, re.S)
        if match and match[1].strip():
            found.append((clean_type(match[1]), match[2]))
    return tuple(found)


class Source:
    """An unpacked kernel source tree, as far as it defines system calls."""

    def __init__(self, root: Path) -> None:
        # Function -> directory under arch, "" for common code -> prototype.
        self._functions: dict[str, dict[str, Prototype]] = {}
        for file in sorted(root.rglob("*.c")):
            parts = file.relative_to(root).parts
            self._read(file, parts[1] if parts[0] == "arch" else "")
        self._declared = {
            found[1]: _split_declaration(found[2])
            for found in _DECLARE.finditer(self._text(root / "include/linux/syscalls.h"))
        }
        self._entries = {
            label: dict(self._table(root / table.path, table.abis.split()))
            for label, table in TABLES.items()
        }

    @staticmethod
    def _text(file: Path) -> str:
        return _COMMENT.sub(" ", file.read_text(errors="replace"))

    def _read(self, file: Path, directory: str) -> None:
        text = self._text(file)
        if "SYSCALL" not in text:
            return
        for macro, body in _DEFINE.findall(text):
            name, *rest = (part.strip() for part in body.split(","))
            prefix = "compat_sys_" if macro.startswith("COMPAT") else "sys_"
            prototype = tuple(
                (clean_type(ctype), argument)
                for ctype, argument in zip(rest[::2], rest[1::2], strict=False)
            )
            self._functions.setdefault(prefix + name, {})[directory] = prototype

    @staticmethod
    def _table(file: Path, abis: list[str]) -> list[tuple[str, str]]:
        found = []
        for line in file.read_text().splitlines():
            fields = line.split("#")[0].split()
            if len(fields) > 3 and fields[1] in abis:
                found.append((fields[2], fields[3]))
        return found

    def prototype(self, name: str, label: str) -> Prototype | None:
        """Return what *name* takes on ABI *label*, ``None`` if the source does not tell."""
        function = self._entries[label].get(name)
        if function is None or function == "sys_ni_syscall":
            return None
        found = self._functions.get(function, {})
        directory = TABLES[label].directory
        return found.get(directory, found.get("", self._declared.get(function)))
