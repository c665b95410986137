"""What handlers share: errors of the supervisor's own calls as the target's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unotify.calls.lookups import Spot
from unotify.errors import KernelError, Refused
from unotify.kernel.attaching import attach, bind, mount_id, unmount, unmount_name
from unotify.kernel.interface import Held
from unotify.kernel.mounting import Mount

__all__ = ["find", "find_there", "name_of", "passing_errors", "put", "put_copy"]


@contextmanager
def passing_errors() -> Iterator[None]:
    """What the kernel says to us in here, it says to the target.

    What says that the *supervisor* lacks something, and what to do about it, stays a fault: the
    target gets the fault reply, and the operator reads why.

    Raises:
        Refused: With the errno of the call that failed.
    """
    try:
        yield
    except KernelError as error:
        if error.hint is not None or not error.errno:
            raise
        raise Refused(str(error), errno=error.errno) from error


def find(caller: Any, argument: str, spot: Spot, *, allowed: bool) -> Held:
    """What *spot* names for *caller*, held; the kernel, too, tells first of paths.

    Args:
        caller: A `unotify.Target`.
        argument: The name to hold it by.
        spot: How it is looked up.
        allowed: Whether anything will be done; what cannot be looked up is EPERM if not.

    Raises:
        TargetError: It leads nowhere.
        KernelError: We may not look.
    """
    try:
        found: Held = caller.find(argument, spot)
    except KernelError:
        if allowed:
            raise
        # In a user namespace that nobody else can enter.
        raise Refused("it may not do that", errno=errno.EPERM) from None
    return found


def find_there(caller: Any, argument: str, spot: Spot, *, allowed: bool = True) -> Held:
    """As `find`, of something that has to exist."""
    found = find(caller, argument, spot, allowed=allowed)
    if found.name:
        raise Refused(f"{argument} is not there", errno=errno.ENOENT)
    return found


def name_of(caller: Any, place: Held) -> Held | None:
    """The name that *place* has, in its directory; ``None`` if it has none that can be used."""
    text = os.fsencode(place.text)
    if text == b"/" or not text.startswith(b"/"):
        return None
    above = find(caller, "a name", Spot(text, follow=False, parent=True), allowed=True)
    return above if above.name else None


_MNT_DETACH = 2


def put(caller: Any, mount: Mount, place: Held) -> None:
    """Attach *mount* to *place*, and take it away again if the caller never hears of it.

    Nothing is held afterwards that would keep it busy: the caller may unmount it at once.

    Args:
        caller: A `unotify.Target`; what it has found is held no more.
        mount: What; it is closed.
        place: Where; found as the caller finds it.

    Raises:
        Refused: EINTR: it has given up.
        KernelError: As `unotify.kernel.attaching.attach`.
    """
    above = name_of(caller, place)
    namespace = caller.open_namespace("mnt")
    caller.afterwards(lambda taken: os.close(namespace))
    if not caller.is_waiting():
        raise Refused("it has given up", errno=errno.EINTR)
    number = mount_id(mount.fd)
    attach(namespace, mount, place.fd)
    _leave(caller, namespace, mount, number, above)


def put_copy(
    caller: Any, source: Held, place: Held, *, recursive: bool = False, attributes: int = 0
) -> None:
    """As `put`, of a copy of the mount that *source* is on: a bind mount.

    Args:
        caller: A `unotify.Target`; what it has found is held no more.
        source: What is to be seen at *place*; found as the caller finds it.
        place: Where; likewise.
        recursive: With the mounts below *source*.
        attributes: ``MOUNT_ATTR_*`` for all of them.

    Raises:
        Refused: EINTR: it has given up.
        KernelError: As `unotify.kernel.attaching.bind`.
    """
    above = name_of(caller, place)
    namespace = caller.open_namespace("mnt")
    caller.afterwards(lambda taken: os.close(namespace))
    bound = bind(
        *(namespace, source.fd, place.fd),
        recursive=recursive,
        set=attributes,
        wanted=caller.is_waiting,
    )
    if bound is None:
        raise Refused("it has given up", errno=errno.EINTR)
    _leave(caller, namespace, *bound, above)


def _leave(caller: Any, namespace: int, mount: Mount, number: int, above: Held | None) -> None:
    """See to it that what was attached goes if nobody hears of it, and that nothing holds it."""
    if above is None:
        caller.afterwards(lambda taken: mount.close())
        caller.afterwards(lambda taken: None if taken else unmount(namespace, mount.fd))
        return
    directory, name = os.dup(above.fd), above.name
    caller.afterwards(lambda taken: os.close(directory))
    caller.afterwards(
        lambda taken: (
            None if taken else unmount_name(namespace, directory, name, number, _MNT_DETACH)
        )
    )
    mount.close()
    caller.let_go()
