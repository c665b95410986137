"""Starting a program under a filter, whatever that filter traps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unotify.abi.seccomp import FilterFlag
from unotify.kernel.command import StrOrBytesPath
from unotify.kernel.interface import Spawned
from unotify.kernel.popen import Popen

__all__ = ["spawn"]


def spawn(
    program: bytes,
    args: StrOrBytesPath | Sequence[StrOrBytesPath],
    *,
    flags: FilterFlag = FilterFlag(0),
    preferred: FilterFlag = FilterFlag.WAIT_KILLABLE_RECV,
    no_new_privs: bool = True,
    popen_options: Mapping[str, Any] | None = None,
) -> Spawned:
    """Start *args* under the filter *program*, and return its listener.

    The hand-over of the listener makes no call in the target but execve(2), so
    no filter can block it. The target has no copy of the listener (R5), and
    no process is left but the target.

    Args:
        program: Encoded BPF, 8 bytes an instruction.
        args: As for :class:`subprocess.Popen`.
        flags: Filter flags that the kernel must know.
        preferred: Filter flags to do without if it does not; `Enforcement.missing` tells.
        no_new_privs: ``False`` needs CAP_SYS_ADMIN (S5).
        popen_options: The other arguments of :class:`subprocess.Popen`.

    Returns:
        The process, a running :class:`subprocess.Popen`; its listener; what the
        kernel gave; and notifications that were already received.

    Raises:
        OSError: As subprocess, and :class:`unotify.kernel.popen.Popen`.
        KernelError: The filter cannot be installed; see `unotify.kernel.install`.
    """
    process = Popen(
        args,
        program=program,
        flags=flags,
        preferred=preferred,
        no_new_privs=no_new_privs,
        **(popen_options or {}),
    )
    return Spawned(process, process.listener, process.enforcement, process.backlog)
