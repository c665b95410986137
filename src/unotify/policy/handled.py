"""The verbs of `unotify.handlers`: what they may be given, and which calls they concern.

Only that is here, so that a policy can be read where nobody carries anything out.
"""

from __future__ import annotations

from typing import Final

from unotify.policy.action import Action, Parameter, only
from unotify.policy.handled_system import SYSTEM

__all__ = ["HANDLED"]

_OWNERS: Final = (
    *("chown", "chown32", "lchown", "lchown32", "fchown", "fchown32", "fchownat"),
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "mknod", "mknodat", "statx"),
    *("stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "newfstatat", "fstatat64"),
)

_NUMBERS: Final = r"(\*|\d{1,8}(-\d{1,8})?)"
_DEVICE: Final = rf"[cb]:{_NUMBERS}:{_NUMBERS}"


def _backwards(devices: object) -> str | None:
    for text in devices if isinstance(devices, list) else []:
        for part in text.split(":")[1:]:
            first, _, last = part.partition("-")
            if last and int(first) > int(last):
                return f"the range {part} has no end"
    return None


HANDLED: Final[tuple[Action, ...]] = (
    *SYSTEM,
    Action(
        "fake-ownership",
        "remember owners, modes and devices instead of setting them",
        {"store": Parameter("string", "a file that keeps them from run to run")},
        refuses=only(*_OWNERS),
    ),
    Action(
        "emulate-mknod",
        "make the device nodes that are listed",
        {
            "devices": Parameter(
                "strings",
                "the devices that may be made, as TYPE:MAJOR:MINOR with numbers, ranges or *; "
                "null, zero, full, random, urandom and tty by default",
                example="c:10:200-229",
                pattern=_DEVICE,
                wants="devices as TYPE:MAJOR:MINOR",
            )
        },
        main="devices",
        refuses=only("mknod", "mknodat"),
        together=lambda given: _backwards(given.get("devices")),
        # Whiteouts, which are of device 0:0, anybody may make (Linux 5.8).
        concerns=lambda call, given: (
            "mode & S_IFMT == S_IFBLK or mode & S_IFMT == S_IFCHR and dev != 0"
        ),
    ),
    Action(
        "emulate-mount",
        "mount the file systems that are listed",
        {
            "file-systems": Parameter("strings", "such as tmpfs, overlay"),
            "devices": Parameter("strings", "block devices that may be mounted"),
        },
        refuses=only("mount"),
    ),
    Action(
        "emulate-umount",
        "unmount what is not protected",
        {"protected": Parameter("strings", "mount points that stay")},
        refuses=only("umount", "umount2"),
    ),
)
