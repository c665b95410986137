"""The verbs of `unotify.handlers`: what they may be given, and which calls they concern.

Only that is here, so that a policy can be read where nobody carries anything out.
"""

from __future__ import annotations

from typing import Final

from unotify.policy.action import Action, Parameter, only
from unotify.policy.handled_ownership import OWNERSHIP
from unotify.policy.handled_system import SYSTEM

__all__ = ["HANDLED"]

_NUMBERS: Final = r"(\*|\d{1,8}(-\d{1,8})?)"
_DEVICE: Final = rf"[cb]:{_NUMBERS}:{_NUMBERS}"

_MOUNT_API: Final = (
    *("fsconfig", "fsmount", "fsopen", "fspick", "mount_setattr", "move_mount", "open_tree"),
    "open_tree_attr",
)
_NEW: Final = (
    "not flags & (MS_REMOUNT | MS_BIND | MS_MOVE | MS_SHARED | MS_PRIVATE | MS_SLAVE | "
    "MS_UNBINDABLE)"
)
# With the magic number that once was needed, which has bits of some of these (mount(2)).
_OLD_NEW: Final = (
    "flags & 0xFFFF0000 == 0xC0ED0000 and not flags & (MS_REMOUNT | MS_BIND | MS_MOVE)"
)


def _concerned(call: str, *, binds: bool) -> str | None:
    if call == "mount":
        return f"{_NEW} or {_OLD_NEW} or flags & MS_BIND" if binds else f"{_NEW} or {_OLD_NEW}"
    if call in ("open_tree", "open_tree_attr"):
        return "flags & OPEN_TREE_CLONE" if binds else "False"
    return None


def _backwards(devices: object) -> str | None:
    for text in devices if isinstance(devices, list) else []:
        for part in text.split(":")[1:]:
            first, _, last = part.partition("-")
            if last and int(first) > int(last):
                return f"the range {part} has no end"
    return None


HANDLED: Final[tuple[Action, ...]] = (
    *SYSTEM,
    OWNERSHIP,
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
            "file-systems": Parameter(
                "lists",
                "the types that may be mounted; as a table with options that each may have, as "
                "NAME, NAME=VALUE or NAME=* for any value",
                example="ext4",
            ),
            "devices": Parameter(
                "strings",
                "block devices that may be mounted, as b:MAJOR:MINOR with numbers, ranges or *",
                example="b:7:0-15",
                pattern=rf"b:{_NUMBERS}:{_NUMBERS}",
                wants="block devices as b:MAJOR:MINOR",
            ),
            "size": Parameter(
                "string",
                "the most that a tmpfs may have",
                example="64m",
                pattern=r"\d{1,15}[kKmMgGtT]?",
                wants="a number of bytes",
            ),
            "force": Parameter(
                "strings",
                "attributes that each mount gets; nosuid and nodev by default",
                example="noexec",
                pattern="ro|nosuid|nodev|noexec|nosymfollow",
                wants="ro, nosuid, nodev, noexec and nosymfollow",
            ),
            "ids": Parameter(
                "string",
                "whose files are: of the container's ids, or nobody's where that cannot be",
                ("mapped", "nobody"),
            ),
            "fuse": Parameter(
                "commands",
                "programs of the host that serve a type in the kernel's place, with their options; "
                "{uid} and {gid} are the caller's",
            ),
            "binds": Parameter("boolean", "whether bind mounts are made too; false by default"),
            "capable": Parameter(
                "boolean", "whether the caller needs CAP_SYS_ADMIN; true by default"
            ),
            "others": Parameter(
                "string",
                "what becomes of what is not listed, if the caller has a user namespace of its "
                "own: the kernel decides, with the caller's rights, or it is refused",
                ("kernel", "refuse"),
            ),
        },
        one_of=("file-systems", "fuse", "binds"),
        refuses=only("mount", *_MOUNT_API),
        together=lambda given: _backwards(given.get("devices")),
        concerns=lambda call, given: _concerned(call, binds=bool(given.get("binds"))),
    ),
    Action(
        "emulate-umount",
        "unmount what is not protected",
        {
            "protected": Parameter(
                "strings",
                "paths from the root of the mount namespace; what is mounted there stays",
                example="/proc",
                pattern=r"/[^\x00]*",
                wants="absolute paths",
            )
        },
        main="protected",
        refuses=only("umount", "umount2"),
    ),
    Action(
        "emulate-pivot-root",
        "change the root of the caller's mount namespace, with the paths that were looked at",
        refuses=only("pivot_root"),
    ),
)
