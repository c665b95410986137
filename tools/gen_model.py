"""Generate ``src/unotify/abi/_rows.py``, the rows of the call model.

Usage: ``python -m tools.gen_model [--extract] [--scratch DIR] [--accept-expired]``

Three sources are merged: the names of all calls (the number tables), the
kernel's C types (``tools/data/prototypes.txt``) and what the arguments mean
(``tools/data/roles.txt``, written by hand). With ``--extract`` the prototypes are
first read anew out of Debian's ``linux-source`` and ``manpages-dev``.
"""

from __future__ import annotations

import argparse
import gzip
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.debian import Archive
from tools.prototypes import TABLES, Source
from unotify.abi.arch import Arch
from unotify.abi.model import Role, struct_of, width_of
from unotify.abi.tables import numbers

__all__ = ["OUTPUT", "PROTOTYPES", "ROLES", "generate"]

_DATA = Path(__file__).parent / "data"
PROTOTYPES = _DATA / "prototypes.txt"
ROLES = _DATA / "roles.txt"
OUTPUT = Path(__file__).parent.parent / "src/unotify/abi/_rows.py"

SOURCE_PACKAGE = "linux-source-7.2"

# Architectures that pass what another one passes, for want of an own table in the source.
_TWINS = {
    "loongarch64": "riscv64",
    "ppc64le": "ppc64",
    "mipsel": "mips",
    "mipsel64": "mips64",
    "mipsel64n32": "mips64n32",
    # 31-bit s390 passes 16-bit ids and 32-bit times, as the 32-bit architectures of its age do.
    "s390": "m68k",
}

# First kernels of calls that are newer than the list in syscalls(2).
_SINCE = {
    "6.6": "fchmodat2 map_shadow_stack",
    "6.4": "riscv_hwprobe",
    "6.5": "cachestat",
    "6.7": "futex_requeue futex_wait futex_wake",
    "6.8": "listmount lsm_get_self_attr lsm_list_modules lsm_set_self_attr statmount",
    "6.10": "mseal",
    "6.11": "uretprobe",
    "6.13": "getxattrat listxattrat removexattrat setxattrat",
    "6.15": "open_tree_attr",
    "6.17": "file_getattr file_setattr",
    "5.12": "mount_setattr",
    "5.14": "memfd_secret quotactl_fd",
    "5.15": "process_mrelease",
    "5.16": "futex_waitv",
    "5.17": "set_mempolicy_home_node",
    "5.1": "clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 "
    "clock_settime64 futex_time64 io_pgetevents_time64 mq_timedreceive_time64 "
    "mq_timedsend_time64 ppoll_time64 pselect6_time64 recvmmsg_time64 rt_sigtimedwait_time64 "
    "sched_rr_get_interval_time64 semtimedop_time64 timer_gettime64 timer_settime64 "
    "timerfd_gettime64 timerfd_settime64 utimensat_time64",
}

_MODULE = '''\
"""The rows of the call model: made by tools/gen_model.py, do not edit."""
# ruff: noqa: E501

from typing import Final

__all__ = ["ROWS"]

ROWS: Final = """\\
{rows}"""
"""``call[@architectures](name:ROLE[/bits] [enum] <C type> [@at] [#length] [%struct], ...) returns
[since] [!notes]``; parsed by `unotify.abi.model`."""
'''

Prototype = tuple[tuple[str, str], ...]


# --- extracting


def _names() -> list[str]:
    return sorted({name for arch in Arch for name in numbers(arch)})


def _archs_with(name: str) -> list[str]:
    return [arch.label for arch in Arch if name in numbers(arch)]


def _shape(prototype: Prototype) -> list[object]:
    # What makes two prototypes different for a supervisor.
    return [(width_of(ctype, Role.INT), struct_of(ctype)) for ctype, _ in prototype]


def _show(prototype: Prototype) -> str:
    return ", ".join(f"{ctype} {name}" for ctype, name in prototype)


def extract(source: Source, since: dict[str, str]) -> str:
    """Return the text of ``prototypes.txt``."""
    lines = ["# The kernel's prototypes: made by gen_model.py --extract, do not edit."]
    for name in _names():
        found = {label: source.prototype(name, label) for label in TABLES}
        known = {label: prototype for label, prototype in found.items() if prototype is not None}
        version = since.get(name, "-")
        if not known:
            lines.append(f"{name} {version} ?")
            continue
        usual = next(iter(known.values()))
        lines.append(f"{name} {version} {_show(usual)}".rstrip())
        others: dict[Prototype, list[str]] = {}
        for label in _archs_with(name):
            prototype = known.get(_TWINS.get(label, label), usual)
            if len(prototype) == len(usual) and _shape(prototype) != _shape(usual):
                others.setdefault(prototype, []).append(label)
        for prototype, labels in others.items():
            lines.append(f"{name}@{','.join(labels)} - {_show(prototype)}")
    return "\n".join(lines) + "\n"


def _since(manual: str) -> dict[str, str]:
    found = {}
    manual = re.sub(r"T\{\n\.BR (\w+) \(2\)\nT\}", r"\\f[B]\1\\f[](2)", manual)
    for name, version in re.findall(r"^\\f\[B\](\w+)\\f\[\]\(2\)\t(\d+\.[\d.]+)", manual, re.M):
        found[name] = version
    for version, names in _SINCE.items():
        for name in names.split():
            found.setdefault(name, version)
    return found


def fetch(scratch: Path, *, suite: str = "sid", accept_expired: bool = False) -> str:
    """Read kernel source and manual anew; return the text of ``prototypes.txt``."""
    archive = Archive(suite, scratch, accept_expired=accept_expired)
    source = Source(_unpack_source(archive, scratch / SOURCE_PACKAGE))
    manual = archive.unpack("manpages-dev") / "usr/share/man/man2/syscalls.2.gz"
    return extract(source, _since(gzip.decompress(manual.read_bytes()).decode()))


def _unpack_source(archive: Archive, into: Path) -> Path:
    if not into.exists():
        into.mkdir(parents=True)
        unpack = ["dpkg-deb", "--fsys-tarfile", str(archive.download(SOURCE_PACKAGE))]
        inner = ["tar", "-xO", "--wildcards", "./usr/src/linux-source-*.tar.xz"]
        outer = ["tar", "-xJ", "-C", str(into), "--strip-components=1", "--wildcards"]
        wanted = ["*.c", "*.tbl", "*/include/linux/syscalls.h"]
        with (
            subprocess.Popen(unpack, stdout=subprocess.PIPE) as deb,
            subprocess.Popen(inner, stdin=deb.stdout, stdout=subprocess.PIPE) as tar,
        ):
            subprocess.run([*outer, *wanted], stdin=tar.stdout, check=True)
    return into


# --- merging


@dataclass(frozen=True)
class _Roles:
    """One line of roles.txt."""

    roles: tuple[str, ...]
    types: Prototype | None
    tail: str


_LINE = re.compile(
    r"(?P<name>\w+)(?:@(?P<archs>[\w,]+))?(?:<(?P<types>[^>]*)>)?"
    r"(?:\((?P<roles>[^)]*)\)| = (?P<other>\w+))(?P<tail>.*)"
)


def _prototype(text: str) -> Prototype:
    parts = [part.strip().rpartition(" ") for part in text.split(",") if part.strip()]
    return tuple((ctype, name) for ctype, _, name in parts)


def _read_roles(text: str) -> dict[str, _Roles]:
    found: dict[str, _Roles] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise SystemExit(f"cannot read: {line}")
        types = None if match["types"] is None else _prototype(match["types"])
        if match["other"]:
            other = found[match["other"]]
            entry = _Roles(other.roles, types, match["tail"].strip() or other.tail)
        else:
            roles = tuple(part for part in match["roles"].split(", ") if part)
            entry = _Roles(roles, types, match["tail"].strip())
        key = match["name"] + (f"@{match['archs']}" if match["archs"] else "")
        if key in found:
            raise SystemExit(f"twice in roles.txt: {key}")
        found[key] = entry
    return found


def _read_prototypes(text: str) -> dict[str, tuple[str, Prototype | None]]:
    found: dict[str, tuple[str, Prototype | None]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            key, since, *rest = line.split(" ", 2)
            types = "".join(rest)
            found[key] = (since, None if types == "?" else _prototype(types))
    return found


def _row(key: str, entry: _Roles, types: Prototype, since: str) -> str:
    if len(types) != len(entry.roles):
        raise SystemExit(f"{key}: {len(entry.roles)} roles for ({_show(types)})")
    args = []
    for role, (ctype, _) in zip(entry.roles, types, strict=True):
        head, *marks = re.split(r" (?=[@#%])", role)
        args.append(" ".join([head, f"<{ctype}>", *marks]))
    words = entry.tail.split()
    notes = [word for word in words if word.startswith("!") and word != "!multiplexer"]
    returns = [word for word in words if not word.startswith("!")] or ["int"]
    versions = [since] if since != "-" else []
    return f"{key}({', '.join(args)}) {' '.join(returns + versions + notes)}"


def generate(prototypes_text: str, roles_text: str) -> str:
    """Return the text of the generated module."""
    roles = _read_roles(roles_text)
    prototypes = _read_prototypes(prototypes_text)
    rows = []
    for name in _names():
        if name not in roles:
            raise SystemExit(f"roles.txt lacks {name}")
        since, types = prototypes[name]
        entry = roles[name]
        usual = entry.types if entry.types is not None else types
        removed = "!removed" in entry.tail
        if usual is None and entry.roles:
            raise SystemExit(f"{name}: neither source nor roles.txt has its C types")
        # The kernel lends some dead numbers to another call's function; roles.txt knows better.
        rows.append(_row(name, entry, () if removed and not entry.roles else usual or (), since))
        special = {key: by for key, by in roles.items() if key.startswith(f"{name}@")}
        claimed = {arch for key in special for arch in key.partition("@")[2].split(",")}
        for key, by in special.items():
            of_arch = by.types
            if of_arch is None:
                of_arch = _types_on(prototypes, name, key) if by.roles else ()
            rows.append(_row(key, by, of_arch, since))
        for key, (_, variant) in prototypes.items():
            if key.startswith(f"{name}@") and not removed and variant is not None:
                archs = [a for a in key.partition("@")[2].split(",") if a not in claimed]
                if archs:
                    rows.append(_row(f"{name}@{','.join(archs)}", entry, variant, since))
    unused = {key.partition("@")[0] for key in roles} - set(_names())
    if unused:
        raise SystemExit(f"in no table: {', '.join(sorted(unused))}")
    return _MODULE.format(rows="\n".join(rows) + "\n")


def _types_on(
    prototypes: dict[str, tuple[str, Prototype | None]], name: str, key: str
) -> Prototype:
    wanted = set(key.partition("@")[2].split(","))
    for other, (_, types) in prototypes.items():
        head, _, archs = other.partition("@")
        if head == name and types is not None and wanted & set(archs.split(",")):
            return types
    raise SystemExit(f"{key}: give its C types in angle brackets")


def main() -> int:
    """Write the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--extract", action="store_true", help="read the kernel's source anew")
    parser.add_argument("--scratch", type=Path, help="keep downloads here")
    parser.add_argument("--accept-expired", action="store_true", help="for frozen mirrors")
    parser.add_argument("--suite", default="sid", help="where the source is (default: sid)")
    options = parser.parse_args()
    if options.extract:
        with tempfile.TemporaryDirectory() as temporary:
            scratch = options.scratch or Path(temporary)
            PROTOTYPES.write_text(
                fetch(scratch, suite=options.suite, accept_expired=options.accept_expired)
            )
    OUTPUT.write_text(generate(PROTOTYPES.read_text(), ROLES.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
