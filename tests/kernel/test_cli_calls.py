"""``unotify calls``: the call model on a terminal and in scripts."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.kernel.cli_support import ENVIRON, UNOTIFY, cli
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.cli.failures import Exit
from unotify.kernel import default_kernel


def test_all_calls_of_an_abi() -> None:
    """Without a name: all calls with their numbers, in order."""
    numbers = tables.numbers(Arch.AARCH64)
    assert json.loads(cli("calls", "--arch", "aarch64", "--json").stdout) == numbers
    lines = cli("calls", "--arch", "aarch64").stdout.splitlines()
    assert len(lines) == len(numbers)
    assert [int(line.split()[0]) for line in lines] == sorted(numbers.values())
    native = json.loads(cli("calls", "--json").stdout)
    assert native == tables.numbers(default_kernel().arch)


def test_one_call_by_name() -> None:
    """A name: prototype, class, arguments with their roles, and its numbers everywhere."""
    facts = json.loads(cli("calls", "openat", "--json").stdout)
    assert (facts["name"], facts["class"]) == ("openat", "OpenAt")
    assert [argument["name"] for argument in facts["arguments"]] == [
        *("dirfd", "path", "flags", "mode"),
    ]
    assert facts["arguments"][1]["at"] == "dirfd"
    assert facts["numbers"]["x86_64"] == 257
    assert facts["numbers"]["i386"] == 295
    shown = cli("calls", "openat").stdout
    assert "from unotify.calls import OpenAt" in shown
    assert "OpenFlags" in shown
    assert "257" in shown


@pytest.mark.parametrize("number", ["295", "0x127"])
def test_one_call_by_number(number: str) -> None:
    """A number is of the ABI that --arch names."""
    facts = json.loads(cli("calls", number, "--arch", "i386", "--json").stdout)
    assert (facts["name"], facts["numbers"]) == ("openat", {"i386": 295})


def test_arguments_of_that_abi() -> None:
    """B3: an ABI's own arguments are shown, such as a 64-bit offset in two registers."""
    wide = json.loads(cli("calls", "pread64", "--json", "--arch", "x86_64").stdout)
    narrow = json.loads(cli("calls", "pread64", "--json", "--arch", "arm").stdout)
    assert len(wide["arguments"]) == 4
    assert len(narrow["arguments"]) > 4


def test_unknown_calls() -> None:
    """What there is not: a suggestion, or where else to look."""
    done = cli("calls", "opnat")
    assert done.returncode == Exit.USAGE
    assert done.stderr == (
        "unotify: error: no system call is named 'opnat'\nunotify: hint: did you mean openat?\n"
    )
    done = cli("calls", "99999", "--arch", "s390x")
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith("unotify: error: no call has number 99999 on s390x\n")
    done = cli("calls", "stat64", "--arch", "x86_64")
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith("unotify: error: x86_64 has no call stat64\nunotify: hint: ")
    assert "i386" in done.stderr


def test_into_head() -> None:
    """Whoever reads may stop: no traceback, no complaint."""
    process = subprocess.Popen(
        [*UNOTIFY, "calls"],
        env=ENVIRON,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    _, errors = process.communicate()
    assert errors == b""
    assert process.returncode == 1
