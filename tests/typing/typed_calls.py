"""What type checkers know of typed calls: the question on the class, the value on an instance."""

from typing import Any, assert_type

from unotify import Reply, Target
from unotify.abi import constants as c
from unotify.abi.types import Address
from unotify.calls import (
    Accept4,
    Argument,
    Call,
    Connect,
    Execve,
    Getpid,
    Mount,
    OpenAt,
    OpenAt2,
    SocketAddress,
    TargetPath,
    Where,
    call_class,
)
from unotify.calls.structs import OpenHow


def values(open_: OpenAt, how: OpenAt2, mount: Mount, connect: Connect, execve: Execve) -> None:
    """An argument of an instance is the decoded value; ``None`` only where NULL means something."""
    assert_type(open_.path, TargetPath)
    assert_type(open_.flags, c.OpenFlags)
    assert_type(open_.dirfd, int)
    assert_type(how.how, OpenHow)
    assert_type(mount.source, TargetPath | None)
    assert_type(mount.target, TargetPath)
    assert_type(mount.fstype, str | None)
    assert_type(mount.flags, c.MountFlags)
    assert_type(connect.address, SocketAddress)
    assert_type(execve.argv, tuple[bytes, ...] | None)


def pointers(call: Accept4) -> None:
    """What the call only writes to is an address."""
    assert_type(call.address, Address)


def questions() -> None:
    """An argument of a class is a question about its register."""
    assert_type(OpenAt.flags, Argument[c.OpenFlags])
    assert_type(OpenAt.dirfd == -100, Where)
    assert_type(OpenAt.mode.in_([0o600, 0o644]), Where)
    assert_type((OpenAt.flags & 3) == 1, Where)
    assert_type((OpenAt.dirfd >= 0) & (OpenAt.mode == 0), Where)
    assert_type(~(OpenAt.dirfd == 3) | Mount.data.is_null(), Where)


def every_call(call: Call) -> None:
    """What all calls have, whatever they are."""
    assert_type(call.caller, Target)
    assert_type(call.caller.pid, int)
    assert_type(call.call_name, str)
    assert_type(call.register("flags"), int)
    assert_type(call.perform(), Reply)
    assert_type(call.describe(), dict[str, Any])
    assert_type(call_class("getpid"), type[Call])
    assert_type(Getpid.call_name, str)
