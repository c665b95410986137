"""Which devices are on a list, and which calls `emulate-mknod` is about."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest

from tests.unit.calls.fake_memory import make_call
from unotify.abi.arch import Arch
from unotify.errors import InvalidPolicy, PolicyError
from unotify.handlers import devices, emulate_mknod
from unotify.handlers.devices import COMMON, Devices
from unotify.kernel.interface import Making
from unotify.policy.actions import registered
from unotify.policy.loader import load
from unotify.supervisor.addons import native_form, verbs_of


@pytest.mark.parametrize(
    ("text", "kind", "major", "minor", "has"),
    [
        ("c:1:3", "c", 1, 3, True),
        ("c:1:3", "b", 1, 3, False),
        ("c:1:3", "c", 1, 5, False),
        ("c:1:3", "c", 2, 3, False),
        ("c:1:*", "c", 1, 1 << 19, True),
        ("b:7-9:0-3", "b", 8, 3, True),
        ("b:7-9:0-3", "b", 8, 4, False),
        ("b:7-9:0-3", "b", 10, 0, False),
        ("c:*:*", "c", 4095, (1 << 20) - 1, True),
    ],
)
def test_lists(text: str, kind: str, major: int, minor: int, has: bool) -> None:
    """A device is listed by its type and numbers, which may be ranges."""
    mode = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}[kind]
    assert Devices([text]).has(mode, os.makedev(major, minor)) is has
    assert not Devices([]).has(mode, os.makedev(major, minor))


@pytest.mark.parametrize("text", ["", "c:1", "x:1:3", "c:1:3:4", "c:5-3:1", "c:a:1", "c:-1:1"])
def test_what_is_no_device(text: str) -> None:
    """It is said so, with an example."""
    with pytest.raises(PolicyError, match="is no device") as caught:
        Devices([text])
    assert "c:10:200-229" in (caught.value.hint or "")


def test_what_is_not_its_business() -> None:
    """Files, FIFOs and whiteouts are left to others, without a look at anything."""
    for mode, device in ((0o100644, 0), (0o010644, 5), (0o140644, 5), (0o644, 5), (0o020644, 0)):
        assert emulate_mknod(make_call("mknod", 0, mode, device)) is None
        assert emulate_mknod(make_call("mknodat", -100, 0, mode, device)) is None


def _policy(devices: str) -> Any:
    return load(
        'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["mknod", "mknodat"]\n'
        f"do = {{ emulate-mknod = {devices} }}\n",
        native=Arch.X86_64,
    )


def test_the_policy_checks_its_devices() -> None:
    """A list that is wrong is an error where it stands."""
    (rule,) = _policy('["c:1:3", "b:7:0-3"]').rules
    assert rule.verdict.parameters == {"devices": ["c:1:3", "b:7:0-3"]}
    for wrong in ('["null"]', '{ devices = ["c:1:"] }', '["c:9-3:1"]', "[]", '"c:1:3"'):
        with pytest.raises(InvalidPolicy) as caught:
            _policy(wrong)
        assert caught.value.line == 5


def test_what_it_comes_to_without_python() -> None:
    """The same devices, capabilities and mounts as when it is asked; nothing if there is more."""
    form = native_form(dict(verbs_of(devices))["emulate-mknod"])
    assert form is not None
    listed = form("mknod", {"devices": ["c:1:3", "b:7:*"]})
    last = (1 << 32) - 1
    expected = ((stat.S_IFCHR, (1, 1), (3, 3)), (stat.S_IFBLK, (7, 7), (0, last)))
    assert listed == Making(expected, needed=1 << 27, lent=1 << 27, refused=4)
    common = form("mknodat", {})
    assert common is not None
    assert len(common.devices) == len(COMMON)
    assert form("mknod", {"devices": ["c:1:3"], "more": True}) is None


def test_there_is_a_handler() -> None:
    """Who imports the package says so."""
    assert "emulate-mknod" in registered()
