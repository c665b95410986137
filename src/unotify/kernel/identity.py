"""What ``/proc`` tells of a thread that waits: who it is, and what it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from unotify.abi.types import Tid
from unotify.errors import KernelError, TargetGone
from unotify.kernel.entries import entry, link, listed, process_of, status_fields
from unotify.kernel.waiting import Waiting

__all__ = ["Identity"]

_KINDS_OF_OPENER: Final = ("net", "ipc")


class Identity(Waiting):
    """Answers are read anew for each question, and are the thread's own."""

    __slots__ = ("_tgid",)

    def __init__(self, tid: Tid, still_valid: Callable[[], bool]) -> None:
        super().__init__(tid, still_valid)
        self._tgid = 0

    @property
    def tgid(self) -> int:
        """The process it belongs to, as seen from here."""
        self._require_open()
        if not self._tgid:
            self._tgid = self._checked(process_of(self.tid))
        return self._tgid

    def process(self) -> int:
        """Its process, or 0 if it has gone: for those who count what it costs."""
        # Of a read that is stalled the notification may be over.
        if not self._tgid:
            try:
                self._tgid = process_of(self.tid)
            except TargetGone:
                return 0
        return self._tgid

    def comm(self) -> str:
        """Its name, up to 15 characters that it may choose freely."""
        self._require_open()
        return self._checked(entry(self.tid, "comm").decode("utf-8", "backslashreplace")[:-1])

    def ids(self) -> tuple[int, int]:
        """Its effective user and group id, as our user namespace numbers them."""
        self._require_open()
        status = status_fields(self.tid)
        return self._checked((int(status[b"Uid"].split()[1]), int(status[b"Gid"].split()[1])))

    def started(self) -> int:
        """When its process started, in clock ticks: with `tgid`, a name that is not reused."""
        # The name, in parentheses, may have spaces and more of them.
        after = entry(self.tgid, "stat").rpartition(b")")[2].split()
        return self._checked(int(after[19]))

    def exe(self) -> str:
        """The path of the program that it runs, as seen from here."""
        self._require_open()
        return self._checked(link(self.tid, "exe"))

    def argv(self) -> tuple[bytes, ...]:
        """The arguments of its program, which it may rewrite."""
        self._require_open()
        return self._checked(tuple(entry(self.tid, "cmdline").split(b"\0")[:-1]))

    def cgroup(self) -> str:
        """Its path in the unified hierarchy of cgroups; empty without one."""
        self._require_open()
        lines = entry(self.tid, "cgroup").split(b"\n")  # a name may have a \r
        found = next((line[3:] for line in lines if line.startswith(b"0::")), b"")
        return self._checked(os.fsdecode(found))

    def namespaces(self) -> dict[str, int]:
        """The inode numbers of its namespaces, by their kind: ``user``, ``mnt``, ``pid`` ..."""
        self._require_open()
        kinds = [kind for kind in listed(f"/proc/{self.tid}/ns") if "_" not in kind]
        links = {kind: link(self.tid, f"ns/{kind}") for kind in kinds}
        return self._checked({kind: int(link[len(kind) + 2 : -1]) for kind, link in links.items()})

    def id_map(self, kind: str) -> bytes:
        """The ``uid`` or ``gid`` map of its user namespace; empty until that was written."""
        self._require_open()
        return self._checked(entry(self.tid, f"{kind}_map"))

    def file_limit(self) -> int:
        """How large it may make a file; -1 for no limit."""
        self._require_open()
        # In /proc/PID/limits all may read it; prlimit(2) wants more rights than the target has.
        lines = entry(self.tid, "limits").splitlines()
        word = next(line.split()[3] for line in lines if line.startswith(b"Max file size"))
        return self._checked(int(word) if word.isdigit() else -1)

    def fd_flags(self, fd: int) -> int:
        """The flags of its descriptor *fd*, O_CLOEXEC among them; -1 if it has none."""
        self._require_open()
        try:
            info = entry(self.tid, f"fdinfo/{fd}")
        except TargetGone:
            return self._checked(-1)
        line = next(line for line in info.splitlines() if line.startswith(b"flags:"))
        return self._checked(int(line.split()[1], 8))

    def is_alike(self) -> bool:
        """Whether it is in our control group, and our network and IPC namespaces."""
        self._require_open()
        # Asked while its own rights are taken on; who may not look at itself gets no benefit.
        try:
            return self._checked(self._is_alike())
        except KernelError:
            return False

    def _is_alike(self) -> bool:
        tables = [entry(tid, "cgroup") for tid in (self.tid, os.getpid())]
        spaces = [
            [link(t, f"ns/{kind}") for kind in _KINDS_OF_OPENER] for t in (self.tid, os.getpid())
        ]
        return tables[0] == tables[1] and spaces[0] == spaces[1]
