"""Makes a filter with libseccomp: run by the system's Python, which has its binding.

Reads a JSON array of objects from standard input: ``arches``, ``default``, ``rules``; writes
an array of programs to standard output. It does what runc does with a profile's entries.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from typing import Any

import seccomp  # type: ignore[import-not-found, unused-ignore]

OPERATORS = {
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_GE": seccomp.GE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}


def action(word: str, code: int) -> Any:
    """The library's number for an action."""
    if word == "SCMP_ACT_ERRNO":
        return seccomp.ERRNO(code)
    if word == "SCMP_ACT_TRACE":
        return seccomp.TRACE(code)
    name = word.removeprefix("SCMP_ACT_")
    return getattr(seccomp, "KILL" if name == "KILL_THREAD" else name)


def program(request: dict[str, Any]) -> dict[str, Any]:
    """From one request to a program, and what the library refused."""
    default = action(*request["default"])
    made = seccomp.SyscallFilter(default)
    # Only then may the endianness be another one.
    made.remove_arch(seccomp.Arch())
    for arch in request["arches"]:
        made.add_arch(seccomp.Arch(arch))
    refused = []
    for word, code, name, args in request["rules"]:
        found = action(word, code)
        if found == default:
            continue
        conditions = [seccomp.Arg(i, OPERATORS[op], a, b) for i, op, a, b in args]
        indices = [i for i, *_ in args]
        groups = [conditions]
        if len(set(indices)) < len(indices):
            groups = [[condition] for condition in conditions]
        for group in groups:
            try:
                made.add_rule(found, name, *group)
            except RuntimeError as error:
                refused.append([name, str(error)])
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return {"program": base64.b64encode(file.read()).decode(), "refused": refused}


if __name__ == "__main__":
    json.dump([program(request) for request in json.load(sys.stdin)], sys.stdout)
