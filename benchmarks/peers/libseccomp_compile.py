"""What libseccomp makes of some rules: JSON in, JSON out; for any Python that has its binding."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

import seccomp  # type: ignore[import-not-found]

COMPARISONS = {
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_GE": seccomp.GE,
}


def action(name: str, errno: int) -> Any:
    """An action, as profiles spell it."""
    return seccomp.ERRNO(errno) if name == "SCMP_ACT_ERRNO" else seccomp.ALLOW


def comparison(index: int, op: str, value: int, two: int) -> Any:
    """One test of an argument, as profiles spell it."""
    if op == "SCMP_CMP_MASKED_EQ":
        return seccomp.Arg(index, seccomp.MASKED_EQ, value, two)
    return seccomp.Arg(index, COMPARISONS[op], value)


def main() -> None:
    """Compile, and say what came out and how many seconds it took."""
    asked = json.load(sys.stdin)
    started = time.perf_counter()
    name, errno = asked["default"]
    rules = seccomp.SyscallFilter(action(name, errno))
    rules.set_attr(seccomp.Attr.CTL_OPTIMIZE, asked["optimize"])
    for arch in (getattr(seccomp.Arch, name) for name in asked["arches"]):
        if not rules.exist_arch(arch):
            rules.add_arch(arch)
    for verb, errno, call, args in asked["rules"]:
        try:
            rules.add_rule(action(verb, errno), call, *(comparison(*arg) for arg in args))
        except (RuntimeError, ValueError):
            continue  # a call that it does not know
    with tempfile.TemporaryFile() as out:
        rules.export_bpf(out)
        took = time.perf_counter() - started
        size = os.fstat(out.fileno()).st_size
        program = os.pread(out.fileno(), size, 0)
    print(json.dumps({"program": program.hex(), "seconds": took}))


if __name__ == "__main__":
    main()
