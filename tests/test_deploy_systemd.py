"""The units in deploy/systemd: what they say is there, and systemd understands them."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import missing
from unotify.cli.agent import command

UNITS = Path(__file__).parents[1] / "deploy" / "systemd"
NAMES = ("unotify-agent.service", "unotify-agent.socket")


def unit(name: str) -> configparser.ConfigParser:
    """A unit, read as systemd does, but that of several values of a key the last counts."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def test_the_command_of_the_unit_is_one() -> None:
    """Its options are the agent's, and it needs nothing that they do not give."""
    _, agent, *options = shlex.split(unit(NAMES[0])["Service"]["ExecStart"])
    assert agent == "agent"
    given = command.make_parser(command.make_context("agent", [], resilient_parsing=True))
    values, rest, _ = given.parse_args(options)
    assert rest == []
    assert values["policies"] == "/etc/unotify/policies"
    control = values["control"]
    reload = shlex.split(unit(NAMES[0])["Service"]["ExecReload"])
    assert reload[1:] == ["agent", "reload", "--control", control]
    assert Path(control).parent == Path("/run") / unit(NAMES[0])["Service"]["RuntimeDirectory"]


def test_the_unit_lets_containers_outlive_the_agent() -> None:
    """The store is large enough, the directory of sockets stays, and somebody starts the next."""
    service = unit(NAMES[0])["Service"]
    assert int(service["FileDescriptorStoreMax"]) >= 1024
    assert int(service["LimitNOFILE"]) > 2 * int(service["FileDescriptorStoreMax"])
    assert service["RuntimeDirectoryPreserve"] == "yes"
    assert service["Restart"] == "always"
    assert service["Type"] == "notify"
    # The whole of a drain, and a second for runtimes, before systemd loses its patience.
    assert int(service["TimeoutStopSec"]) > 6
    assert unit(NAMES[1])["Socket"]["SocketMode"] == "0600"


@pytest.fixture(name="units")
def _units(tmp_path: Path) -> Path:
    """The units, with a command that exists here."""
    if shutil.which("systemd-analyze") is None:
        missing("there is no systemd-analyze here")
    for name in NAMES:
        text = (UNITS / name).read_text().replace("/usr/bin/unotify", sys.executable)
        (tmp_path / name).write_text(text)
    return tmp_path


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    return subprocess.run(
        ["systemd-analyze", *arguments, *(str(units / name) for name in NAMES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
    )


def test_systemd_understands_the_units(units: Path) -> None:
    """No key is misspelled, and no value is one that systemd would ignore."""
    # With nothing before and after it, since the services of runtimes are not installed here.
    done = analyze(units, "verify", "--recursive-errors=no", "--man=no")
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_hardening_is_what_an_agent_can_have(units: Path) -> None:
    """The exposure that systemd computes does not grow unnoticed."""
    done = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=yes", "--threshold=87"),
            str(units / NAMES[0]),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]
