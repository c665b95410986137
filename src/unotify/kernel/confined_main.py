"""The process that looks at data that nobody trusts; see `unotify.kernel.confined`."""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import struct
from collections.abc import Callable
from typing import Any, Final

from unotify.errors import KernelError, TargetError
from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number
from unotify.kernel.install import install, set_no_new_privs
from unotify.kernel.rights import become

__all__ = ["main"]

_NOBODY: Final = 65534
_MEMORY: Final = 768 << 20
_CAP_VERSION: Final = 0x20080522


def main(function: str, fd: str, *arguments: str) -> None:
    """Give all rights away, and print what *function* finds out about *fd*."""
    module, _, name = function.partition(":")
    begin: Callable[..., Callable[[], Any]] = getattr(importlib.import_module(module), name)
    early, late = map(bytes.fromhex, os.environ["UNOTIFY_FILTERS"].split())
    _limit(int(os.environ["UNOTIFY_SECONDS"]))
    _drop()
    set_no_new_privs()
    install(early, listener=False)
    try:
        look = begin(int(fd), *arguments)
        install(late, listener=False)
        told = {"value": look()}
    except TargetError as refused:
        told = {"errno": refused.errno, "why": str(refused)}
    except MemoryError:
        told = {"errno": errno.ENOEXEC, "why": "it takes too much memory"}
    os.write(1, json.dumps(told).encode())


def _limit(seconds: int) -> None:
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(kind, (most, most))


def _drop() -> None:
    if os.geteuid() == 0:
        try:
            become(_NOBODY, _NOBODY)
        except KernelError as error:
            if error.errno != errno.EINVAL:  # a user namespace that has no such user
                raise
    none = struct.pack("=6I", *(0,) * 6)
    header = struct.pack("=Ii", _CAP_VERSION, 0)
    check(syscall(number("capset"), header, none), "capset(2)")
