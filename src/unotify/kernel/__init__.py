"""The only room that makes system calls about targets."""

from __future__ import annotations

from functools import cache

from unotify.kernel.interface import Kernel

__all__ = ["default_kernel"]


@cache
def default_kernel() -> Kernel:
    """The running Linux: one object for the whole process."""
    from unotify.kernel.linux import LinuxKernel

    return LinuxKernel()
