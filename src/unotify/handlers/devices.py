"""Device nodes for targets that may not make any: mknod and mknodat.

Theory of operation. What the kernel asks of who makes a device node is CAP_MKNOD in the *initial*
user namespace. Here it is asked for in that of the caller's container, and the device has to be on
a list. The node is then made with the caller's ids and umask, through the directory that its path
was found to name, and with that capability lent for this one call; so the errno of all else is the
kernel's.

On some file systems a device node is of no use: those that were mounted in a user namespace,
and mounts with nodev. There the node is a mount: of one that is on a file system of its own, which
nobody else sees, attached to an empty file that the caller has made.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.calls import Call
from unotify.calls.acts import Act, plan
from unotify.calls.lookups import Spot
from unotify.errors import KernelError, PolicyError
from unotify.handlers.answers import find, passing_errors
from unotify.kernel.attaching import attach, mount_id, unmount_name
from unotify.kernel.interface import Held, Making
from unotify.kernel.nodes import Node, can_mount, is_usable, node_mount, remove
from unotify.kernel.rights import CAP_DAC_OVERRIDE, Rights
from unotify.protocol import Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["COMMON", "Device", "Devices", "emulate_mknod"]

_log = logging.getLogger("unotify")

COMMON: Final = ("c:1:3", "c:1:5", "c:1:7", "c:1:8", "c:1:9", "c:5:0")
"""null, zero, full, random, urandom and tty: what each container has anyway."""

_KINDS: Final = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Device:
    """Some devices of one type.

    Attributes:
        kind: ``S_IFCHR`` or ``S_IFBLK``.
        major: The first and the last major number.
        minor: The first and the last minor number.
    """

    kind: int
    major: tuple[int, int]
    minor: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read ``c:1:3``, ``b:7:*``, ``c:136-143:0-9``.

        Raises:
            PolicyError: It has another form.
        """
        parts = text.split(":")
        try:
            kind, major, minor = parts
            return cls(_KINDS[kind], _range(major), _range(minor))
        except (ValueError, KeyError):
            raise PolicyError(
                f"{text!r} is no device", hint='write TYPE:MAJOR:MINOR, such as "c:10:200-229"'
            ) from None

    def has(self, kind: int, device: int) -> bool:
        """Whether the device number *device* of type *kind* is one of them."""
        return (
            kind == self.kind
            and self.major[0] <= os.major(device) <= self.major[1]
            and self.minor[0] <= os.minor(device) <= self.minor[1]
        )


def _range(text: str) -> tuple[int, int]:
    if text == "*":
        return 0, (1 << 32) - 1
    first, _, last = text.partition("-")
    found = int(first), int(last or first)
    if found[0] > found[1]:
        raise ValueError(text)
    return found


class Devices:
    """A list of devices."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.devices = tuple(map(Device.parse, texts))

    def has(self, kind: int, device: int) -> bool:
        """Whether it is on the list."""
        return any(known.has(kind, device) for known in self.devices)


devices_of = lru_cache(maxsize=256)(Devices)


def emulate_mknod(call: Call, *, devices: Iterable[str] = COMMON) -> Reply | None:
    """Make a device node for a target that may not; for mknod(2) and mknodat(2).

    The node gets the caller's ids and umask. If the caller has gone by the time that it could
    hear of it, the node is removed again.

    Args:
        call: The call.
        devices: Which may be made: ``TYPE:MAJOR:MINOR`` each, with numbers, ranges or ``*``.

    Returns:
        ``None`` for what is no device, and for whiteouts: anybody may make these.

    Raises:
        TargetError: As the kernel refuses the path; EPERM: the device is not listed, or the
            caller has no CAP_MKNOD where that counts.
        KernelError: The supervisor lacks the rights for it.
        PolicyError: *devices* cannot be read.
    """
    mode, device = call.register("mode"), call.register("dev")
    kind = stat.S_IFMT(mode)
    if kind not in (stat.S_IFCHR, stat.S_IFBLK) or (kind == stat.S_IFCHR and device == 0):
        return None
    caller = call.caller
    with caller.at_one_moment():
        act = plan(call)
        listed = devices_of(tuple(devices)).has(kind, device)
        done = _at_once(caller, act) if listed else None
        if done is not None:
            return done
        around = caller.around
        allowed = listed and around.may(Capability.CAP_MKNOD)
        place = find(caller, "path", act.spots["path"], allowed=allowed)
        if not place.name:
            return Fail(errno.EEXIST)
        if not allowed:
            return Fail(errno.EEXIST if _exists(place) else errno.EPERM)
        with passing_errors():
            if not os.fstatvfs(place.fd).f_flag & _ST_NODEV:
                made = _make(call, act, place, around)
                if made is not None:
                    return made
            return _mount(call, act, place)


_MKNOD: Final = 1 << Capability.CAP_MKNOD
_ST_NODEV: Final = 4
_MNT_DETACH: Final = 2


def _exists(place: Held) -> bool:
    # The kernel, too, tells of this first.
    try:
        os.stat(place.name, dir_fd=place.fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _at_once(caller: Any, act: Act) -> Reply | None:
    """Make the node in one go; ``None`` if that takes more, and nothing is left of it."""
    made = caller.make(act, needed=_MKNOD, lent=_MKNOD, refused=_ST_NODEV, contained=True)
    if made is None:
        return None
    directory, name = made.directory, made.name
    caller.afterwards(lambda taken: os.close(directory))
    if made.value == -errno.EPERM:
        return None
    if made.value < 0:
        return Fail(-made.value)
    if not any(made.node.identity):
        return Return(0)  # another thread has taken it away already
    return _kept(caller, directory, name, made.node, lambda: made.rights)


def _make(call: Call, act: Act, place: Held, around: Any) -> Reply | None:
    """Make the node; ``None`` if it would be of no use there."""
    caller = call.caller
    lent = _MKNOD
    # What the caller may do in its user namespace nobody can do here, so it is asked there.
    if not around.shares("user") and caller.may(place, os.W_OK | os.X_OK):
        lent |= CAP_DAC_OVERRIDE
    rights = caller.credentials
    done = caller.act(replace(act, lent=lent), pinned=["path"])
    if done.value == -errno.EPERM:
        return None  # an overlay of a user namespace acts as who mounted it
    if done.value < 0:
        return Fail(-done.value)
    name = place.name.rstrip(b"/")
    try:
        node = Node.found(place.fd, name)
    except KernelError:
        return Return(0)  # another thread has taken it away already
    return _kept(caller, place.fd, name, node, lambda: rights)


def _kept(
    caller: Any, directory: int, name: bytes, node: Node, rights: Callable[[], Rights]
) -> Reply | None:
    """Tell of a node that was made; ``None``: it is of no use there, and nothing is left of it."""
    try:
        usable = is_usable(directory, name, node)
    except KernelError:
        return Return(0)
    if not usable:
        remove(directory, name, node.identity, rights())
        return None
    _removed_unless_taken(caller, directory, name, node.identity, rights)
    return Return(0)


def _mount(call: Call, act: Act, place: Held) -> Reply:
    """Make an empty file, and attach a node to it."""
    caller = call.caller
    alike = caller.around.shares("user")
    if not can_mount() and alike:
        return Fail(errno.EPERM)
    if not (alike or caller.around.owns_mounts()):
        return Fail(errno.EPERM)  # in somebody else's mount namespace it may mount nothing
    rights = caller.credentials
    mode, device = call.register("mode"), call.register("dev")
    values = {"flags": _NEW, "mode": mode & 0o777}
    done = caller.act(
        Act("openat", call.call_name, values, act.spots, returns_fd=True), pinned=["path"]
    )
    if done.value < 0:
        return Fail(-done.value)
    file = done.fd
    found = os.fstat(file)
    identity = found.st_dev, found.st_ino
    name = place.name.rstrip(b"/")
    caller.afterwards(lambda taken: os.close(file))
    _removed_unless_taken(caller, place.fd, name, identity, lambda: rights)
    permissions = stat.S_IMODE(found.st_mode)
    if not can_mount():
        return _bind(caller, stat.S_IFMT(mode), device, file)
    with node_mount(stat.S_IFMT(mode) | permissions, device, found.st_uid, found.st_gid) as node:
        number = mount_id(node.fd)
        namespace = caller.open_namespace("mnt")
        caller.afterwards(lambda taken: os.close(namespace))
        if not caller.is_waiting():
            return Fail(errno.EINTR)
        attach(namespace, node, file)
    caller.afterwards(
        lambda taken: (
            None if taken else unmount_name(namespace, place.fd, name, number, _MNT_DETACH)
        )
    )
    return Return(0)


_NAMES: Final = {
    (1, 3): "null",
    (1, 5): "zero",
    (1, 7): "full",
    (1, 8): "random",
    (1, 9): "urandom",
    (5, 0): "tty",
    (10, 200): "net/tun",
    (10, 229): "fuse",
}


def _bind(caller: Any, kind: int, device: int, file: int) -> Reply:
    """Bind a node that the container has already: all that a supervisor without rights can do."""
    name = _NAMES.get((os.major(device), os.minor(device)), "")
    source = caller.find("source", Spot(os.fsencode(f"/dev/{name}")))
    status = os.fstat(source.fd)
    if source.name or stat.S_IFMT(status.st_mode) != kind or status.st_rdev != device:
        return Fail(errno.EPERM)
    caller.bind(source, _File(file))
    return Return(0)


@dataclass(frozen=True, slots=True)
class _File:
    fd: int


def _removed_unless_taken(
    caller: Any,
    directory: int,
    name: bytes,
    identity: tuple[int, int],
    rights: Callable[[], Rights],
) -> None:
    def undo(taken: bool) -> None:
        if not taken and not remove(directory, name, identity, rights()):
            _log.warning("%r was made for a target that had gone, and stays", name)

    caller.afterwards(undo)


def _native(call: str, parameters: Mapping[str, Any]) -> Making | None:
    """What `_at_once` does, for the native part to do it without asking here."""
    if parameters.keys() - {"devices"}:
        return None
    listed = devices_of(tuple(parameters.get("devices", COMMON))).devices
    devices = tuple((each.kind, each.major, each.minor) for each in listed)
    return Making(devices, needed=_MKNOD, lent=_MKNOD, refused=_ST_NODEV)


@verb("emulate-mknod", native=_native)
def _emulate_mknod(call: Call, parameters: Mapping[str, Any]) -> Reply | None:
    return emulate_mknod(call, devices=parameters.get("devices", COMMON))
