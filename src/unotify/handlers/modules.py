"""Kernel modules: the host's own, by name, never the bytes that a program brings.

Theory of operation. The program's file tells one thing, a name, and that is taken from it where
nothing can be hurt (`unotify.handlers.module_image`). If the name is listed, and the module is not
there yet, the host's own loader gets it. What the kernel would check of the caller is checked:
CAP_SYS_MODULE in its container, flags, and that it gives no parameters but listed ones.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.errors import KernelError, Refused
from unotify.handlers.descriptors import taken
from unotify.handlers.module_image import MOST
from unotify.kernel.confined import confined
from unotify.protocol import Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["MODPROBE", "load_module"]

_log = logging.getLogger("unotify")

MODPROBE: Final = ("modprobe", "-b")
"""What loads a module if nothing else is said; it keeps to the host's blacklist."""

_LOOK: Final = "unotify.handlers.module_image:begin"
_LOOK_SECONDS: Final = 5.0
_LOAD_SECONDS: Final = 30.0
_PIECE: Final = 1 << 20
_IGNORING: Final = 1 | 2  # MODULE_INIT_IGNORE_MODVERSIONS, MODULE_INIT_IGNORE_VERMAGIC
_COMPRESSED: Final = 4  # MODULE_INIT_COMPRESSED_FILE
_PARAMETERS_MAX: Final = 4096
_LOADED: Final = "/sys/module"


def load_module(
    call: Call,
    *,
    modules: Sequence[str],
    command: Sequence[str] = MODPROBE,
    parameters: Sequence[str] = (),
) -> Reply:
    """Answer init_module, finit_module or delete_module: the host loads its own module.

    Args:
        call: The call.
        modules: Names that may be loaded; ``*`` stands for any part of one. ``-`` and ``_``
            are the same.
        command: What loads one; gets the name, and the parameters after it. It has 30
            seconds. Status 0 says that the module is there; else the end of its last line of
            standard error says what went wrong, as ``strerror`` does.
        parameters: What the program may give as parameters, each the whole text.

    Returns:
        0, or the errno that tells: EPERM for what is not listed, and for delete_module always;
        EEXIST, which loaders take for success; ENOEXEC for what is no module; ENOENT if the host
        has no such module; else what the loader said, or EIO.

    Raises:
        TargetError: EFAULT, EBADF, EINVAL ...: as the kernel would refuse the arguments.
    """
    caller = call.caller
    caller.around.require(Capability.CAP_SYS_MODULE)
    if call.call_name == "delete_module":
        return Fail(errno.EPERM)  # it is the host's
    flags = call.register("flags") if call.call_name == "finit_module" else 0
    if flags & ~(_IGNORING | _COMPRESSED):
        return Fail(errno.EINVAL)
    if flags & _IGNORING:
        return Fail(errno.EPERM)
    name = _name(call, compressed=bool(flags & _COMPRESSED))
    given = caller.read_string(Address(call.register("params")), _PARAMETERS_MAX)
    text = os.fsdecode(given).strip()
    if not any(fnmatchcase(name, pattern.replace("-", "_")) for pattern in modules):
        _log.warning("%s asked for module %s, which is not listed", _who(call), name)
        return Fail(errno.EPERM)
    if text and text not in parameters:
        _log.warning("%s gave module %s parameters that are not listed", _who(call), name)
        return Fail(errno.EPERM)
    if os.path.exists(f"{_LOADED}/{name}"):
        return Fail(errno.EEXIST)
    who = _who(call)
    if not caller.is_waiting():
        return Fail(errno.EINTR)
    failed = _load([*command, name, *text.split()])
    _log.info("module %s for %s: %s", name, who, os.strerror(failed) if failed else "loaded")
    return Fail(failed) if failed else Return(0)


def _who(call: Call) -> str:
    caller = call.caller
    return f"process {caller.pid} ({caller.comm!r}) in control group {caller.cgroup or '/'!r}"


def _name(call: Call, *, compressed: bool) -> str:
    with _image(call) as fd:
        try:
            found: Any = confined(_LOOK, fd, "yes" if compressed else "no", seconds=_LOOK_SECONDS)
        except KernelError as error:
            if error.errno != errno.ETIMEDOUT:
                raise
            raise Refused("looking at the image took too long", errno=errno.ETIMEDOUT) from None
    # What comes from there is a name, or nothing is believed.
    if not isinstance(found, str) or not re.fullmatch("[A-Za-z0-9_]{1,55}", found):
        raise Refused("the image has no module name", errno=errno.ENOEXEC)
    return found


@contextmanager
def _image(call: Call) -> Iterator[int]:
    if call.call_name == "finit_module":
        with taken(call, "fd") as fd:
            yield fd
        return
    size = call.register("size")
    if size > MOST:
        raise Refused("a module of more than 64 MiB", errno=errno.EFBIG)
    start = call.register("image")
    with open(os.memfd_create("unotify-module", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
        for at in range(start, start + size, _PIECE):
            file.write(call.caller.read(Address(at), min(_PIECE, start + size - at)))
        yield file.fileno()


def _load(argv: Sequence[str]) -> int:
    """Run the loader; 0, or an errno."""
    try:
        done = subprocess.run(
            argv,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            timeout=_LOAD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return errno.ETIMEDOUT
    except OSError as error:
        raise KernelError(
            error.errno or errno.ENOENT,
            "execve(2)",
            f"{argv[0]}, which loads modules, cannot be run: {error.strerror}",
            hint="command of load-module says what does, by its path",
        ) from error
    if done.returncode == 0:
        return 0
    return _errno_of(done.stderr.decode("utf-8", "replace"))


def _errno_of(told: str) -> int:
    last = (told.strip().splitlines() or [""])[-1]
    if re.search(r"Module \S+ not found", last):
        return errno.ENOENT
    reason = re.sub(r" \(.*\)$", "", last.rpartition(": ")[2])
    return _reasons().get(reason, errno.EIO)


@cache
def _reasons() -> dict[str, int]:
    found = {os.strerror(number): number for number in errno.errorcode if number < 512}
    # What modprobe says instead of "No such file or directory".
    return {**found, "Unknown symbol in module, or unknown parameter": errno.ENOENT}


@verb("load-module")
def _load_module(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return load_module(call, **parameters)
