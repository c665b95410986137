"""Whether those under a filter stay where they are: in their user namespace and root directory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, TypeAlias

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.constants import CloneFlags
from unotify.abi.model import spec
from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf import Box, WordSet, decode, regions
from unotify.bpf.instructions import ARCH_OFFSET, NR_OFFSET
from unotify.bpf.symbolic import halves
from unotify.bpf.wordsets import masked, span
from unotify.errors import FilterTooLarge, NotExpressible

__all__ = ["stays"]

_REFUSING: Final = (Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP, Action.ERRNO)

# clone3 has its flags in memory; what unshare can do grows with the kernel.
_ANYHOW: Final = ("chroot", "clone3", "pivot_root", "setns", "unshare")
_ELSEWHERE: Final = int(CloneFlags.CLONE_NEWUSER | CloneFlags.CLONE_NEWNS)

Words: TypeAlias = tuple[tuple[int, WordSet], ...]


@lru_cache(maxsize=64)
def stays(program: bytes, architectures: tuple[Arch, ...]) -> bool:
    """Whether the filter itself refuses each call that would take a task elsewhere.

    These are ``chroot``, ``pivot_root``, ``setns``, ``unshare``, ``clone3``, and ``clone`` with
    CLONE_NEWUSER or CLONE_NEWNS. All tasks under such a filter have the user namespace and the
    root directory of the first: children have the filter too (R1), and no newer one allows what
    it refuses (F2). A call that is left to a supervisor is not refused here.

    Args:
        program: An encoded filter.
        architectures: All ABIs by which calls can be made.
    """
    try:
        found = regions(decode(program))
    except (NotExpressible, FilterTooLarge):
        return False
    leaving = [words for arch in architectures for words in _leaving(arch)]
    return not any(
        _meets(region.box, words)
        for region in found
        if region.action & ACTION_MASK not in _REFUSING
        for words in leaving
    )


def _leaving(arch: Arch) -> Iterator[Words]:
    """What the words are of each call that leads elsewhere."""
    audit = ARCH_OFFSET // 4, span([(arch.audit, arch.audit)])
    for name in _ANYHOW:
        nr = tables.number(name, arch)
        if nr is not None:
            yield audit, (NR_OFFSET // 4, span([(nr, nr)]))
    nr = tables.number("clone", arch)
    if nr is not None:
        flags = [arg.name for arg in spec("clone", arch).args].index("flags")
        _, lower = halves(flags, little=arch.little)
        some = masked(_ELSEWHERE, 1, _ELSEWHERE)
        yield audit, (NR_OFFSET // 4, span([(nr, nr)])), (lower, some)


def _meets(box: Box, words: Words) -> bool:
    left: Box | None = box
    for index, among in words:
        if left is None:
            break
        left = left.narrowed(index, among)
    return left is not None
