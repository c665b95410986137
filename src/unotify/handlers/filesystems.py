"""A file system for a target: made by the supervisor, from what the target may have.

Theory of operation. What the target names is found first, with its own rights: the block device,
the directories of an overlay. Of a device only its number counts, which has to be on the list; how
the target came by the node does not. Then a context is filled with options that were each let
through, and becomes a mount that nobody sees. If it is of a target in another user namespace, and
has owners of its own, it is idmapped: root of the container is root on it; and its attributes are
locked, since that root may change mounts otherwise.

What depends on who mounts gets the target's namespaces: a procfs its processes, a sysfs its
network. An overlay has the rights of who made it over its layers, so it is made with the target's.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from unotify.abi.constants import MountAttr, MountFlags
from unotify.calls.lookups import Spot
from unotify.errors import KernelError, Refused
from unotify.handlers.answers import find_there
from unotify.handlers.devices import devices_of
from unotify.handlers.options import FileSystems, Option, parse_size, without_more_than
from unotify.handlers.overlays import LAYERS, layers_of, make_overlay
from unotify.handlers.served import make_served
from unotify.kernel.entered import inside
from unotify.kernel.locking import locked
from unotify.kernel.mounting import Mount, device_path, needs_device, open_context
from unotify.kernel.rights import CAP_DAC_OVERRIDE, CAP_SYS_ADMIN, mine, taken_on

__all__ = ["ATTRIBUTES", "Made", "Rules", "attributes_of", "finish", "make", "rules_of"]

_log = logging.getLogger("unotify")

ATTRIBUTES: Final = {
    "ro": MountAttr.MOUNT_ATTR_RDONLY,
    "nosuid": MountAttr.MOUNT_ATTR_NOSUID,
    "nodev": MountAttr.MOUNT_ATTR_NODEV,
    "noexec": MountAttr.MOUNT_ATTR_NOEXEC,
    "nosymfollow": MountAttr.MOUNT_ATTR_NOSYMFOLLOW,
}
"""Attributes by the word for them in a policy."""

_OF_FLAGS: Final = {
    MountFlags.MS_RDONLY: MountAttr.MOUNT_ATTR_RDONLY,
    MountFlags.MS_NOSUID: MountAttr.MOUNT_ATTR_NOSUID,
    MountFlags.MS_NODEV: MountAttr.MOUNT_ATTR_NODEV,
    MountFlags.MS_NOEXEC: MountAttr.MOUNT_ATTR_NOEXEC,
    MountFlags.MS_NOATIME: MountAttr.MOUNT_ATTR_NOATIME,
    MountFlags.MS_NODIRATIME: MountAttr.MOUNT_ATTR_NODIRATIME,
    MountFlags.MS_STRICTATIME: MountAttr.MOUNT_ATTR_STRICTATIME,
    MountFlags.MS_NOSYMFOLLOW: MountAttr.MOUNT_ATTR_NOSYMFOLLOW,
}
_OF_SUPERBLOCK: Final = {
    MountFlags.MS_RDONLY: "ro",
    MountFlags.MS_SYNCHRONOUS: "sync",
    MountFlags.MS_DIRSYNC: "dirsync",
    MountFlags.MS_LAZYTIME: "lazytime",
}
_OWNED: Final = frozenset(("tmpfs", "ramfs"))
"""File systems without a device that have owners of their own."""

_SETTINGS: Final = frozenset(("sysfs", "cgroup", "cgroup2"))
"""Settings of the host, which its root may write without any capability."""

_OF_MOUNTER: Final = frozenset(
    ("proc", "sysfs", "mqueue", "cgroup2", "cgroup", "nfs", "nfs4", "cifs")
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a policy lets a target mount.

    Attributes:
        file_systems: The types, and their options.
        devices: Block devices, as `unotify.handlers.devices.Device` reads them.
        size: The most that a tmpfs may have, such as ``64m``; ``None``: what the kernel allows.
        force: Attributes that each mount gets, besides those that the target asks for.
        fuse: Programs that serve a type in user space, with their options.
        ids: ``mapped``: files have the ids of the container; ``nobody``: where that cannot be they
            are nobody's.
    """

    file_systems: FileSystems
    devices: tuple[str, ...] = ()
    size: str | None = None
    force: tuple[str, ...] = ("nosuid", "nodev")
    ids: str = "mapped"
    fuse: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def forced(self) -> int:
        """The attributes that each mount gets."""
        found = MountAttr(0)
        for name in self.force:
            found |= ATTRIBUTES[name]
        return int(found)


def attributes_of(flags: int) -> int:
    """The ``MOUNT_ATTR_*`` that flags of mount(2) ask for."""
    found = MountAttr(0)
    for flag, attribute in _OF_FLAGS.items():
        if flags & flag:
            found |= attribute
    return int(found)


def options_of(flags: int) -> list[Option]:
    """Flags of mount(2) that are options of the file system itself."""
    return [Option(name) for flag, name in _OF_SUPERBLOCK.items() if flags & flag]


def own_namespaces(caller: Any, stack: ExitStack, *kinds: str) -> dict[str, int]:
    """Descriptors of the caller's namespaces that are not ours, open as long as *stack*."""
    found = {}
    for kind in kinds:
        if not caller.around.shares(kind):
            found[kind] = caller.open_namespace(kind)
            stack.callback(os.close, found[kind])
    return found


def source_device(caller: Any, spot: Spot, rules: Rules) -> int:
    """The number of the block device that *spot* names for the caller.

    Raises:
        Refused: As the kernel refuses the path; ENOTBLK: it is none; EPERM: it is not listed.
    """
    found = find_there(caller, "source", spot)
    status = os.fstat(found.fd)
    if not stat.S_ISBLK(status.st_mode):
        raise Refused("the source is no block device", errno=errno.ENOTBLK)
    if not devices_of(rules.devices).has(stat.S_IFBLK, status.st_rdev):
        raise Refused("the device is not listed", errno=errno.EPERM)
    return status.st_rdev


@dataclass(frozen=True, slots=True)
class Made:
    """A file system that was made for a target.

    Attributes:
        mount: It, which nobody sees yet.
        owned: Whether it has owners of its own.
        kept: ``MOUNT_ATTR_*`` that are not to be taken off.
    """

    mount: Mount
    owned: bool
    kept: int = 0


def make(
    caller: Any,
    fstype: str,
    source: Spot | None,
    options: Sequence[Option],
    rules: Rules,
    *,
    flags: int = 0,
) -> Made:
    """Make a mount of a new file system, which nobody sees yet; `finish` makes it the target's.

    Args:
        caller: The target; a `unotify.Target`.
        fstype: A type that is listed.
        source: Where the target says that its device is, or what is to be shown as the source.
        options: Which were not looked at yet.
        rules: What it may have.
        flags: Of mount(2).

    Raises:
        TargetError: It may not have that, or it is not there.
        KernelError: As the kernel refuses it.
    """
    for option in options:
        rules.file_systems.require(fstype, option)
    if fstype in rules.fuse:
        served = make_served(
            caller,
            source,
            options,
            rules.fuse[fstype],
            devices=rules.devices,
            attributes=attributes_of(flags) | rules.forced,
        )
        return Made(served, owned=False, kept=rules.forced)
    if fstype == "tmpfs" and rules.size is not None:
        options = without_more_than(options, parse_size(rules.size))
    kept = rules.forced
    if fstype in _SETTINGS and caller.around.shares("user"):
        kept |= MountAttr.MOUNT_ATTR_RDONLY
    if fstype == "proc" and caller.around.shares("user"):
        # Its settings are the host's, and root of the container is root to them.
        options = [Option("subset", "pid"), *(o for o in options if o.key != "subset")]
    options = [*options_of(flags), *options]
    device = None
    if needs_device(fstype):
        if source is None:
            raise Refused("no device is named", errno=errno.EINVAL)
        device = source_device(caller, source, rules)
    with ExitStack() as stack:
        made = _make(caller, fstype, source, device, options, stack, attributes_of(flags) | kept)
    return Made(made, device is not None or fstype in _OWNED, kept)


def _make(
    caller: Any,
    fstype: str,
    source: Spot | None,
    device: int | None,
    options: Sequence[Option],
    stack: ExitStack,
    attributes: int,
) -> Mount:
    kinds = ("net", "ipc", "cgroup") if fstype in _OF_MOUNTER else ()
    others = own_namespaces(caller, stack, *kinds)
    pids = own_namespaces(caller, stack, "pid") if fstype == "proc" else {}
    layers = layers_of(caller, options) if fstype == "overlay" else []
    if fstype == "overlay" and not caller.around.shares("user"):
        return make_overlay(caller, source, layers, options, attributes)
    path = "" if device is None else stack.enter_context(device_path(device))
    # Layers have to be of the namespace that the overlay is made in.
    within = own_namespaces(caller, stack, "mnt").get("mnt", -1) if layers else -1
    said: list[str] = []
    # Whoever makes an overlay is who looks at its layers, whoever uses it.
    theirs, ours = (caller.credentials, mine()) if fstype == "overlay" else (None, None)
    writable = any(key == "upperdir" for key, _ in layers)
    if theirs is not None and writable and not theirs.effective & CAP_DAC_OVERRIDE:
        # The kernel makes a directory there that is closed to all.
        raise Refused("an overlay to write to takes CAP_DAC_OVERRIDE", errno=errno.EPERM)

    def create() -> Mount:
        with open_context(fstype) as context:
            try:
                if device is not None:
                    context.set("source", path)
                elif source is not None:
                    context.set("source", source.path)
                for fd in pids.values():
                    context.set_descriptor("pidns", fd)
                for key, fd in layers:
                    context.set_descriptor(key, fd)
                for option in options:
                    if not (layers and option.key in LAYERS):
                        context.set(option.key, option.value)
                if theirs is None or ours is None:
                    context.create()
                else:
                    with taken_on(theirs, ours, more=CAP_SYS_ADMIN):
                        context.create()
                return context.mount(attributes)
            finally:
                said.extend(context.messages())

    if not caller.is_waiting():
        raise Refused("it has given up", errno=errno.EINTR)
    try:
        return inside(within, create, others=others) if layers or others else create()
    finally:
        for line in said:
            _log.info("%s: %r", fstype, line)  # options of the target are in it


def finish(caller: Any, made: Made, rules: Rules) -> Mount:
    """Make what was made the target's: with its ids, and with attributes that it cannot take off.

    Raises:
        KernelError: EINVAL: the file system cannot have the ids of the target.
    """
    if caller.around.shares("user"):
        return made.mount
    namespace = caller.open_namespace("user")
    try:
        if made.owned:
            _map_ids(made.mount, rules, namespace)
        # Who may mount could take off what is forced.
        return locked(made.mount, namespace)
    finally:
        os.close(namespace)


def _map_ids(mount: Mount, rules: Rules, namespace: int) -> None:
    try:
        mount.change(user_namespace=namespace)
    except KernelError as error:
        if error.errno != errno.EINVAL or rules.ids != "nobody":
            raise


def rules_of(given: Mapping[str, Any]) -> Rules:
    """The rules that parameters of a verb, or of a function, give."""
    listed, fuse = given.get("file_systems", ()), given.get("fuse", {})
    options = listed if isinstance(listed, Mapping) else dict.fromkeys(listed, ())
    return Rules(
        FileSystems({**dict.fromkeys(fuse, ()), **options}),
        tuple(given.get("devices", ())),
        given.get("size"),
        tuple(given.get("force", ("nosuid", "nodev"))),
        given.get("ids", "mapped"),
        fuse,
    )
