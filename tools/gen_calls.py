"""Generate ``src/unotify/abi/_numbers.py``: every call's number on every architecture.

Usage: ``python -m tools.gen_calls [--scratch DIR] [--accept-expired] [--check]``

The numbers come from ``asm/unistd.h`` in Debian's ``linux-libc-dev``, of the
newest suite that has the architecture. Needs apt-get and dpkg-deb, no compiler.
With ``--check`` nothing is written; the exit status tells whether the committed
file is what would be written.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError

from tools.cpp import Headers
from tools.debian import SUITES, Archive

__all__ = ["ABIS", "OUTPUT", "Abi", "headers_of", "read_numbers", "render"]

OUTPUT = Path(__file__).parent.parent / "src/unotify/abi/_numbers.py"

PACKAGE = "linux-libc-dev"


@dataclass(frozen=True)
class Abi:
    """Where an ABI's headers are and what its compiler predefines.

    Attributes:
        labels: The `Arch` labels that share the column, little-endian twins included.
        directory: Its name under ``/usr/lib/linux/uapi``.
        macros: Predefined macros, separated by spaces.
        long: Size of a C ``long`` in bytes.
    """

    labels: tuple[str, ...]
    directory: str
    macros: str
    long: int


ABIS = (
    Abi(("x86_64",), "x86", "__x86_64__ __LP64__", 8),
    Abi(("x32",), "x86", "__x86_64__ __ILP32__", 4),
    Abi(("i386",), "x86", "__i386__", 4),
    Abi(("aarch64",), "arm64", "__aarch64__ __LP64__", 8),
    Abi(("arm",), "arm", "__arm__ __ARM_EABI__", 4),
    Abi(("riscv64",), "riscv", "__riscv __LP64__", 8),
    Abi(("riscv32",), "riscv", "__riscv", 4),
    Abi(("loongarch64",), "loongarch", "__loongarch__ __LP64__", 8),
    Abi(("ppc",), "powerpc", "__powerpc__", 4),
    Abi(("ppc64", "ppc64le"), "powerpc", "__powerpc__ __powerpc64__ __LP64__", 8),
    Abi(("s390",), "s390", "__s390__", 4),
    Abi(("s390x",), "s390", "__s390__ __s390x__ __LP64__", 8),
    Abi(("mips", "mipsel"), "mips", "__mips__ _MIPS_SIM=1", 4),
    Abi(("mips64", "mipsel64"), "mips", "__mips__ __mips64 __LP64__ _MIPS_SIM=3", 8),
    Abi(("mips64n32", "mipsel64n32"), "mips", "__mips__ __mips64 _MIPS_SIM=2", 4),
    Abi(("parisc",), "parisc", "__hppa__", 4),
    Abi(("sh4",), "sh", "__sh__", 4),
    Abi(("m68k",), "m68k", "__m68k__ __mc68000__", 4),
)

_NOT_CALLS = {"Linux", "Linux_syscalls", "SYSCALL_BASE", "OABI_SYSCALL_BASE", "SYSCALL_MASK"}

_MODULE = '''\
"""The number of every call on every architecture: made by tools/gen_calls.py, do not edit."""
# ruff: noqa: E501

from typing import Final

__all__ = ["HEADERS", "SHA256", "TABLE"]

HEADERS: Final = {{
{headers}}}
"""The kernel version of the headers that each architecture's numbers come from."""

SHA256: Final = "{digest}"
"""Of `TABLE`, so that an edit by hand shows."""

TABLE: Final = """\\
{table}"""
"""A heading, then one line for each name; ``-`` where the architecture lacks the call.

Architectures joined by ``/`` share a column. A name after another one with the
same number is its alias.
"""
'''


def headers_of(unpacked: Path, abi: Abi) -> Headers:
    """Return a reader of *abi*'s headers in an unpacked ``linux-libc-dev``."""
    size = str(abi.long)
    predefined = {
        "__CHAR_BIT__": "8",
        "__SIZEOF_LONG__": size,
        "__SIZEOF_POINTER__": size,
        "__linux__": "1",
    }
    for macro in abi.macros.split():
        name, _, value = macro.partition("=")
        predefined[name] = value or "1"
    roots = [unpacked / "usr/lib/linux/uapi" / abi.directory, unpacked / "usr/include"]
    return Headers(roots, predefined)


def read_numbers(unpacked: Path, abi: Abi) -> dict[str, int]:
    """Return *abi*'s numbers; for two names with one number the kernel's own comes first."""
    headers = headers_of(unpacked, abi)
    headers.include("asm/unistd.h")
    found: dict[str, int] = {}
    aliases: dict[str, int] = {}
    for prefix in ("__NR_", "__ARM_NR_"):
        for macro, value in headers.values(prefix).items():
            name = macro.removeprefix(prefix)
            if name not in _NOT_CALLS and name != "BASE":
                is_alias = headers.macros[macro].startswith("__NR_")
                (aliases if is_alias else found)[name] = value
    return found | aliases


def render(versions: Mapping[str, str], numbers: Mapping[str, Mapping[str, int]]) -> str:
    """Return the text of the generated module.

    Args:
        versions: For each `Arch` label, the kernel version of its headers.
        numbers: For each `Arch` label, its names and numbers.
    """
    rank: dict[str, tuple[int, str]] = {}
    for abi in ABIS:
        for name, number in numbers[abi.labels[0]].items():
            rank.setdefault(name, (number, name))
    lines = [" ".join(["name", *("/".join(abi.labels) for abi in ABIS)])]
    for name in sorted(rank):
        cells = (numbers[abi.labels[0]].get(name, "-") for abi in ABIS)
        lines.append(" ".join([name, *map(str, cells)]))
    table = "\n".join(lines) + "\n"
    headers = "".join(f'    "{label}": "{version}",\n' for label, version in versions.items())
    digest = hashlib.sha256(table.encode()).hexdigest()
    return _MODULE.format(headers=headers, digest=digest, table=table)


def generate(scratch: Path, *, accept_expired: bool = False) -> str:
    """Fetch the headers and return the text of the generated module."""
    versions: dict[str, str] = {}
    numbers: dict[str, dict[str, int]] = {}
    for suite in SUITES:
        try:
            archive = Archive(suite, scratch, accept_expired=accept_expired)
            unpacked = archive.unpack(PACKAGE)
        except CalledProcessError as error:
            print(f"{suite}: not usable ({error})", file=sys.stderr)
            continue
        for abi in ABIS:
            # A suite newer than the last one with an ABI knows the directory but not the table.
            if abi.labels[0] not in numbers and _has(unpacked, abi):
                found = read_numbers(unpacked, abi)
                for label in abi.labels:
                    numbers[label] = found
                    versions[label] = archive.version(PACKAGE)
        if len(numbers) == sum(len(abi.labels) for abi in ABIS):
            break
    order = [label for abi in ABIS for label in abi.labels]
    missing = [label for label in order if label not in numbers]
    if missing:
        raise SystemExit(f"no headers found for: {', '.join(missing)}")
    return render({label: versions[label] for label in order}, numbers)


def _has(unpacked: Path, abi: Abi) -> bool:
    # Since 7.x s390's unistd.h gives the 64-bit table to everyone.
    if abi.labels == ("s390",):
        return (unpacked / "usr/lib/linux/uapi/s390/asm/unistd_32.h").exists()
    return (unpacked / "usr/lib/linux/uapi" / abi.directory / "asm/unistd.h").exists()


def main() -> int:
    """Write or check the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scratch", type=Path, help="keep downloads here")
    parser.add_argument("--accept-expired", action="store_true", help="for frozen mirrors")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = options.scratch or Path(temporary)
        text = generate(scratch, accept_expired=options.accept_expired)
    if options.check:
        return int(OUTPUT.read_text() != text)
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
