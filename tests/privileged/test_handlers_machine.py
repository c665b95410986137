"""Reboot, swap, names and quotas: what the machine would do, and the container gets."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.privileged.handlers_support import attempt, handled, open_to_all, start

REBOOT = """
NR, M1, M2 = 169, 0xfee1dead, 672274793
OFF, RESTART, CAD = 0x4321fedc, 0x1234567, 0x89abcdef
"""


def test_reboot_ends_the_container() -> None:
    """With the default answer the kernel ends the pid namespace, as it does natively."""
    code = REBOOT + (
        "contain()\n"
        "child = os.fork()\n"
        "if child == 0:\n    called(NR, M1, M2, RESTART, 0)\n    os._exit(3)\n"
        "signal.pause()\n"
    )
    with handled('reboot: "emulate-reboot"') as (supervisor, notes):
        process = start(supervisor, code)
        process.communicate(timeout=60)
    # The first process of a pid namespace dies of SIGHUP where that was restarted (reboot(2)).
    assert process.returncode in (-signal.SIGHUP, 255 & -signal.SIGHUP, 129)
    assert notes.faults == []


def test_reboot_of_the_machine_is_refused() -> None:
    """In the supervisor's own pid namespace nothing is let go; arguments are checked as ever."""
    code = REBOOT + (
        "say([called(NR, M1, M2, OFF, 0), called(NR, M1, M2, CAD, 0), called(NR, M1, M2, 0, 0),"
        " called(NR, 1, M2, OFF, 0), called(NR, M1, 2, OFF, 0), called(NR, M1, M2, 77, 0)])"
    )
    with handled('reboot: "emulate-reboot"') as (supervisor, notes):
        assert attempt(supervisor, code) == ["EPERM", 0, 0, "EINVAL", "EINVAL", "EINVAL"]
    assert notes.faults == []


@pytest.mark.parametrize(("answer", "expected"), [("fake", 0), ("deny", "EPERM")])
def test_reboot_that_is_said_to_be_done(answer: str, expected: object) -> None:
    """Or refused; who has no CAP_SYS_BOOT in the container is always refused."""
    code = REBOOT + (
        "contain()\nfirst = called(NR, M1, M2, OFF, 0)\nos.setresuid(5, 5, 5)\n"
        "say([first, called(NR, M1, M2, OFF, 0)])"
    )
    with handled(f'reboot: {{ emulate-reboot = "{answer}" }}') as (supervisor, _):
        assert attempt(supervisor, code) == [expected, "EPERM"]


@pytest.mark.parametrize(("answer", "expected"), [("fake", 0), ("deny", "EPERM")])
def test_swap(answer: str, expected: object, tmp_path: Path) -> None:
    """Said to be done for a file that is there; the machine's swap stays as it is."""
    place = open_to_all(tmp_path)
    (place / "swap").touch()
    before = Path("/proc/swaps").read_text()
    code = (
        "contain()\nos.chdir(sys.argv[1])\n"
        'say([called(167, b"swap", 0), called(168, b"swap"), called(167, b"none", 0),'
        ' called(167, 8, 0), called(167, b"swap", 1 << 20), called(168, b"x" * 5000),'
        " os.setresuid(5, 5, 5), called(168, b'swap')])"
    )
    with handled(f'swapon swapoff: {{ emulate-swap = "{answer}" }}') as (supervisor, notes):
        found = attempt(supervisor, code, place)
    wrong = ["ENOENT", "EFAULT", "EINVAL", "ENAMETOOLONG"]
    assert found == [expected, expected, *wrong, None, "EPERM"]
    assert Path("/proc/swaps").read_text() == before
    assert notes.faults == []


HOSTNAME = "sethostname setdomainname"


def test_a_hostname_of_its_own() -> None:
    """It is set in the container's UTS namespace, and nowhere else."""
    code = (
        "contain(0x34020000)\n"
        'say([tried(socket.sethostname, "box-1"), socket.gethostname(), called(171, b"dom-1", 5),'
        ' open("/proc/sys/kernel/domainname").read().strip(),'
        ' tried(socket.sethostname, "other"), socket.gethostname(),'
        ' called(170, b"box-", 65), called(170, b"box-", -1), called(170, 8, 4),'
        ' called(170, 8, 0), os.setresuid(5, 5, 5), called(170, b"box-2", 5)])'
    )
    before = socket.gethostname()
    rule = '{ emulate-hostname = { names = ["box-*", "dom-1", ""] } }'
    with handled(f"{HOSTNAME}: {rule}") as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found == [
        *(0, "box-1", 0, "dom-1", "EPERM", "box-1"),
        *("EINVAL", "EINVAL", "EFAULT", 0, None, "EPERM"),
    ]
    assert socket.gethostname() == before
    assert notes.faults == []


@pytest.mark.parametrize(("answer", "expected"), [("own", "EPERM"), ("fake", 0), ("deny", "EPERM")])
def test_the_machine_s_hostname_stays(answer: str, expected: object) -> None:
    """In the supervisor's own UTS namespace no name is set."""
    before = socket.gethostname()
    with handled(f'{HOSTNAME}: {{ emulate-hostname = {{ answer = "{answer}" }} }}') as (
        supervisor,
        _,
    ):
        assert attempt(supervisor, 'contain()\nsay(tried(socket.sethostname, "x"))') == expected
        assert attempt(supervisor, 'say(tried(socket.sethostname, "x"))') == expected
    assert socket.gethostname() == before


@pytest.mark.parametrize(
    ("answer", "get", "set_"),
    [("none", "ESRCH", "ESRCH"), ("fake", "ESRCH", 0), ("deny", "EPERM", "EPERM")],
)
def test_quotas(answer: str, get: str, set_: object) -> None:
    """As a file system without quotas; one's own may be asked for without any right."""
    code = """
contain()
def quota(command, kind=0, id=0, nr=179):
    return called(nr, command << 8 | kind, b"/dev/x", id, 0)
GET, SET, SYNC, INFO = 0x800007, 0x800008, 0x800001, 0x800005
found = [quota(GET), quota(SET), quota(SYNC), quota(INFO), quota(GET, 3), quota(0x77)]
os.setresgid(6, 6, 6)
os.setresuid(5, 5, 5)
say(found + [quota(GET, 0, 5), quota(GET, 1, 6), quota(GET, 0, 6), quota(SET), quota(SYNC)])
"""
    with handled(f'quotactl quotactl_fd: {{ emulate-quota = "{answer}" }}') as (supervisor, notes):
        found = attempt(supervisor, code)
    assert found[:6] == [get, set_, 0, get, "EINVAL", "EINVAL"]
    assert found[6:] == [get, get, "EPERM", "EPERM", 0]
    assert notes.faults == []
