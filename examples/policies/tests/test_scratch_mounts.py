"""Tests of scratch-mounts.toml and its handler: unotify test, or pytest with unotify's fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unotify import Return
from unotify.testing import assert_reply

POLICY = Path(__file__).parent.parent / "scratch-mounts.toml"


class Mounts:
    """Notes what is asked for, where the real handler would mount."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def mount(self, call: Any) -> Return:
        """One mount."""
        self.asked.append(f"{call.fstype} on {call.target}")
        return Return(0)


def test_scratch_mounts_are_the_handler_s(supervised: Any) -> None:
    """A tmpfs below /scratch comes to the handler; all other mounts are refused."""
    mounts = Mounts()
    one = supervised(policy=POLICY)
    one.on("mount")(mounts.mount)
    one.kernel.links["/scratch/out"] = "/etc"
    assert str(one.call("mount", "none", "/scratch/a", "tmpfs", 0, None)) == "0"
    assert_reply(one.reply, Return(0))
    for target, fstype, flags in (
        ("/mnt", "tmpfs", 0),
        ("/scratch/a", "ext4", 0),
        ("/scratch/out", "tmpfs", 0),
        ("/scratch/a", "tmpfs", 4096),
    ):
        assert str(one.call("mount", "none", target, fstype, flags, None)) == "-1 EPERM"
    assert mounts.asked == ["tmpfs on /scratch/a"]


def test_the_new_interface_is_not_there(supervised: Any) -> None:
    """mount(8) falls back to mount(2)."""
    one = supervised(policy=POLICY)
    one.on("mount")(Mounts().mount)
    assert str(one.call("fsopen", "tmpfs", 0)) == "-1 ENOSYS"
