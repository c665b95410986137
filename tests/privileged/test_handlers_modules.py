"""`load-module`: the host's own modules, by name, for those who may not load any."""

from __future__ import annotations

import gzip
import logging
import lzma
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.kernel.targets import until
from tests.privileged.handlers_support import attempt, handled, open_to_all, start
from tests.unit.handlers.images import image
from unotify.kernel import confined as module

CALLS = "init_module finit_module delete_module"

_CODE = """
INIT, FINIT, DELETE = 175, 313, 176
def finit(path, params=b"", flags=0, how=os.O_RDONLY):
    fd = os.open(path, how)
    try:
        return called(FINIT, fd, params, flags)
    finally:
        os.close(fd)
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """A directory with modules, and a loader that writes down what it is asked for."""
    place = open_to_all(tmp_path)
    for name in ("dummy", "other", "acpi", "broken"):
        (place / f"{name}.ko").write_bytes(image(f"name={name}\0".encode()))
    (place / "dummy.ko.xz").write_bytes(lzma.compress(image()))
    (place / "dummy.ko.gz").write_bytes(gzip.compress(image()))
    (place / "loader").write_text(
        f"""#!{sys.executable}
import sys
with open({str(place / "asked")!r}, "a") as file:
    print(*sys.argv[1:], file=file)
if sys.argv[1] == "broken":
    sys.exit("loader: ERROR: could not insert 'broken': Key was rejected by service")
"""
    )
    for file in place.iterdir():
        file.chmod(0o777)
    return place


def rule(place: Path, more: str = "") -> str:
    """A rule with the loader of *place*."""
    names = '["dummy*", "br-netfilter", "acpi", "broken"]'
    return (
        f'{CALLS}: {{ load-module = {{ modules = {names}, command = ["{place}/loader"]{more} }} }}'
    )


def asked(place: Path) -> list[str]:
    """What the loader was asked for."""
    file = place / "asked"
    return file.read_text().splitlines() if file.exists() else []


def test_in_a_container(place: Path) -> None:
    """The name is taken from the file, compressed or not, and the host's loader gets it."""
    code = (
        _CODE
        + """
contain()
os.chdir(sys.argv[1])
data = open("dummy.ko", "rb").read()
say([
    finit("dummy.ko"), finit("dummy.ko.xz", flags=4), finit("dummy.ko.gz", flags=4),
    called(INIT, data, len(data), b""),
])
"""
    )
    with handled(rule(place)) as (supervisor, notes):
        assert attempt(supervisor, code, place) == [0, 0, 0, 0]
    assert notes.faults == []
    assert asked(place) == ["dummy", "dummy_x", "dummy_x", "dummy"]


def test_what_is_refused(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that is not listed is loaded, and each refusal has the errno that loaders know."""
    code = (
        _CODE
        + """
contain()
os.chdir(sys.argv[1])
data = open("dummy.ko", "rb").read()
reading, writing = os.pipe()
say([
    finit("other.ko"),                                  # not listed
    finit("acpi.ko"),                                   # there already
    finit("broken.ko"),                                 # the loader says why not
    finit("dummy.ko", b"debug=1"),
    finit("dummy.ko", flags=1), finit("dummy.ko", flags=2), finit("dummy.ko", flags=8),
    finit("dummy.ko", flags=4), finit("dummy.ko.xz"),
    finit("loader"), finit("/"),
    called(FINIT, 99, b"", 0), called(FINIT, reading, b"", 0),
    called(INIT, data, 20, b""), called(INIT, 8, len(data), b""),
    called(INIT, data, len(data), 8), called(INIT, data, 1 << 40, b""),
    called(FINIT, os.open("dummy.ko", os.O_RDONLY), 8, 0),
    called(DELETE, b"acpi", 0),
    finit("dummy.ko", how=os.O_WRONLY), finit("dummy.ko", how=os.O_PATH),
])
"""
    )
    with handled(rule(place)) as (supervisor, notes), caplog.at_level(logging.INFO, "unotify"):
        found = attempt(supervisor, code, place)
    assert found == [
        *("EPERM", "EEXIST", "EKEYREJECTED", "EPERM", "EPERM", "EPERM", "EINVAL"),
        *("ENOEXEC", "ENOEXEC", "ENOEXEC", "EINVAL", "EBADF", "EINVAL"),
        *("ENOEXEC", "EFAULT", "EFAULT", "EFBIG", "EFAULT", "EPERM", "EBADF", "EBADF"),
    ]
    assert asked(place) == ["broken"]
    assert notes.faults == []
    assert "asked for module other, which is not listed" in caplog.text


def test_parameters_that_are_listed(place: Path) -> None:
    """They go to the loader, word by word."""
    code = _CODE + 'contain()\nos.chdir(sys.argv[1])\nsay(finit("dummy.ko", b"debug=1 x=2 "))'
    with handled(rule(place, ', parameters = ["debug=1 x=2"]')) as (supervisor, _):
        assert attempt(supervisor, code, place) == 0
    assert asked(place) == ["dummy debug=1 x=2"]


def test_who_has_no_capability_in_the_container(place: Path) -> None:
    """Without CAP_SYS_MODULE, or with one of a namespace of its own, nobody loads anything."""
    drop = "os.setresuid(5, 5, 5)"
    nested = "assert libc.unshare(0x10000000) == 0"
    with handled(rule(place)) as (supervisor, _):
        for step in (drop, nested):
            code = _CODE + f'contain()\nos.chdir(sys.argv[1])\n{step}\nsay(finit("dummy.ko"))'
            assert attempt(supervisor, code, place) == "EPERM"
    assert asked(place) == []


def test_the_image_is_read_where_there_is_nothing_to_hurt(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that looks is nobody, without capabilities, under two filters; its time ends."""
    monkeypatch.setattr(module, "_OURS", f"{module._OURS}{os.pathsep}{Path(__file__).parents[2]}")
    fd = os.open(place / "dummy.ko", os.O_RDONLY)
    try:
        status = module.confined("tests.privileged.confined_probe:status", fd)
        assert status["Uid"].split() == ["65534"] * 4
        assert set(status["CapEff"] + status["CapPrm"]) == {"0"}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for what in ("connects", "writes", "executes", "kills"):
            with pytest.raises(OSError, match="ended whoever looked") as caught:
                _tried(what, fd)
            assert caught.value.errno == 8
        with pytest.raises(OSError, match="took more than"):
            module.confined("tests.privileged.confined_probe:hangs", fd, seconds=0.5)
    finally:
        os.close(fd)


def _tried(what: str, fd: int) -> None:
    try:
        module.confined(f"tests.privileged.confined_probe:{what}", fd)
    except Exception as error:
        raise OSError(getattr(error, "errno", 0), str(error)) from error


def test_a_target_that_is_killed_while_its_module_is_loaded(place: Path) -> None:
    """The loader comes to its end, and nobody hears of it."""
    (place / "loader").write_text(
        f"#!/bin/sh\ncd {place}\necho $1 > started\nwhile test -e dummy.ko; do sleep 0.02; done\n"
    )
    code = _CODE + 'contain()\nos.chdir(sys.argv[1])\nsay(finit("dummy.ko"))'
    with handled(rule(place)) as (supervisor, notes):
        process = start(supervisor, code, place, start_new_session=True)
        until((place / "started").exists)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        (place / "dummy.ko").unlink()
        assert supervisor.wait(20)
    assert notes.faults == []
