"""Whose rights an act has: credentials of a target, taken on by one thread for one act.

Theory of operation. Credentials belong to a thread. glibc hides that, by telling all threads of
a process; the raw calls do not. So a thread of a privileged supervisor takes on the target's
groups, its effective ids and its effective capabilities, acts, and takes its own back. Real and
saved ids stay: that is what the way back stands on, and it keeps the target from sending
signals to us, which the kernel allows between equal *real* or saved ids. So do permitted
capabilities, which keep it from changing our scheduling. The ids of the file
system follow the effective ones, as does what a peer sees in SO_PEERCRED.

A supervisor without privileges has nothing to take off: it may look into a target only if all
of that one's ids are its own (ptrace(2)), and then its rights are its own too.

If the way back fails the process ends at once: a thread that serves others with the rights
of one target is worse than no supervisor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Final

from unotify.abi import tables
from unotify.errors import KernelError
from unotify.kernel._libc import NATIVE, check, libc, syscall

__all__ = [
    "CAP_DAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "Rights",
    "are_mine",
    "become",
    "limited",
    "mine",
    "my_status",
    "read_status",
    "same_rights",
    "settle",
    "taken_on",
    "umask_of",
]

_NO_NEW_PRIVS: Final = len("\nNoNewPrivs:\t0")
_CAPS: Final = 2 * len("\nCapPrm:\t0123456789abcdef")
_USUAL: Final = 8192
_LONGEST: Final = 1 << 20
_KEEP: Final = -1
_CAP_VERSION: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_HEADER: Final = struct.pack("=Ii", _CAP_VERSION, 0)
CAP_DAC_OVERRIDE: Final = 1 << 1
CAP_SETGID: Final = 1 << 6
CAP_SETUID: Final = 1 << 7
CAP_SYS_ADMIN: Final = 1 << 21
CAP_MKNOD: Final = 1 << 27


@cache
def _number(call: str) -> int:
    # 32-bit ABIs of old have 16-bit ids in the calls without a number in their name.
    numbers = tables.numbers(NATIVE)
    return numbers.get(f"{call}32", numbers.get(call, -1))


@dataclass(frozen=True, slots=True)
class Rights:
    """What the kernel asks when somebody acts.

    Attributes:
        uid: Effective user id, as our user namespace numbers it.
        gid: Effective group id.
        fsuid: The one that files are accessed with; nearly always *uid*.
        fsgid: Likewise.
        groups: Supplementary groups, in order.
        effective: Effective capabilities, as a bit set.
        permitted: Permitted ones.
        real: Real user and group id.
        saved: Saved user and group id.
        umask: Bits that new files do not get.
        no_new_privs: Whether exec can give no more.
        own_pid: The process id as the innermost pid namespace numbers it.
    """

    uid: int
    gid: int
    fsuid: int
    fsgid: int
    groups: tuple[int, ...]
    effective: int
    permitted: int
    real: tuple[int, int]
    saved: tuple[int, int]
    umask: int
    no_new_privs: bool
    own_pid: int

    @classmethod
    def parse(cls, status: bytes) -> Rights:
        """Read them from ``/proc/PID/status``."""
        # Several times for each call that is performed, and nearly always the same: what changes,
        # sizes and counts, stands between two parts. A name, before both, has no line break in it.
        first = status.find(b"\nUmask:")
        process = status.find(b"\nNStgid:", first)
        capabilities = status.find(b"\nCapPrm:", process)
        last = status.find(b"\nNoNewPrivs:", capabilities)
        if min(first, process, capabilities, last) < 0:  # an older kernel
            return _parsed(status, b"")
        middle = status.index(b"\n", process + 1)
        return _parsed(status[first:middle], status[capabilities : last + _NO_NEW_PRIVS])

    @property
    def key(self) -> tuple[object, ...]:
        """Two with an equal one may do the same."""
        return *self.ids, self.effective

    @property
    def ids(self) -> tuple[object, ...]:
        """Those that count, and the groups."""
        return self.uid, self.gid, self.fsuid, self.fsgid, self.groups

    def of_real_ids(self) -> Rights:
        """What access(2) asks about: the real ids, and capabilities only if that is root."""
        uid, gid = self.real
        effective = 0 if uid else self.permitted
        return replace(self, uid=uid, gid=gid, fsuid=uid, fsgid=gid, effective=effective)


_LINES: Final = re.compile(
    rb"^(Umask|Tgid|Uid|Gid|Groups|NStgid|CapPrm|CapEff|NoNewPrivs):(.*)$", re.MULTILINE
)


@lru_cache(maxsize=256)
def _parsed(*parts: bytes) -> Rights:
    # By \n alone: a name may have other ends of lines in it.
    fields: dict[bytes, bytes] = dict(line for part in parts for line in _LINES.findall(part))
    ruid, uid, suid, fsuid = map(int, fields[b"Uid"].split())
    rgid, gid, sgid, fsgid = map(int, fields[b"Gid"].split())
    return Rights(
        *(uid, gid, fsuid, fsgid, tuple(map(int, fields[b"Groups"].split()))),
        int(fields[b"CapEff"], 16),
        int(fields[b"CapPrm"], 16),
        (ruid, rgid),
        (suid, sgid),
        int(fields[b"Umask"], 8),
        bool(int(fields.get(b"NoNewPrivs", b"0"))),
        int(fields.get(b"NStgid", fields[b"Tgid"]).split()[-1]),
    )


def mine() -> Rights:
    """This thread's own."""
    return Rights.parse(my_status())


def my_status() -> bytes:
    """Read ``/proc/thread-self/status``."""
    fd = os.open("/proc/thread-self/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_status(fd)
    finally:
        os.close(fd)


def read_status(fd: int) -> bytes:
    """All of the ``status`` file that *fd* is open on, of one moment."""
    status = os.pread(fd, _USUAL, 0)
    # Of somebody in very many groups it is longer; 65536 are the most.
    return status if len(status) < _USUAL else os.pread(fd, _LONGEST, 0)


def same_rights(one: bytes, other: bytes) -> bool:
    """Whether two ``status`` files tell of the same ids, groups and capabilities."""
    return _excerpt(one) == _excerpt(other)


def _excerpt(status: bytes) -> bytes:
    # Uid and Gid; Groups; CapPrm and CapEff. A name, which comes before, has no line break in it.
    ids = status.index(b"\nUid:")
    size = status.index(b"\nFDSize:", ids)
    groups = status.index(b"\nGroups:", size)
    after = status.index(b"\n", groups + 1)
    permitted = status.index(b"\nCapPrm:", after)
    return status[ids:size] + status[groups:after] + status[permitted : permitted + _CAPS]


def umask_of(status: bytes) -> int:
    """The umask that ``status`` tells."""
    at = status.index(b"\nUmask:") + 8
    return int(status[at : status.index(b"\n", at)], 8)


class _TakenOn:
    """See `taken_on`."""

    __slots__ = ("_alike", "_more", "_ours", "_theirs")

    def __init__(self, theirs: Rights, ours: Rights, more: int, *, alike: bool) -> None:
        self._theirs = theirs
        self._ours = ours
        self._more = more
        self._alike = alike

    def __enter__(self) -> None:
        theirs, ours = self._theirs, self._ours
        try:
            if not self._alike:
                _take_ids(theirs, ours)
            _set_effective((theirs.effective | self._more) & ours.permitted, ours.permitted)
        except BaseException:
            self._return()
            raise

    def __exit__(self, *_: object) -> None:
        self._return()

    def _return(self) -> None:
        ours = self._ours
        try:
            if not self._alike:
                _set_effective(ours.permitted, ours.permitted)
                _give_ids_back(ours, groups=self._theirs.groups != ours.groups)
            _set_effective(ours.effective, ours.permitted)
            back = _effective_now() == ours.effective and (self._alike or _ids_are_back(ours))
        except BaseException:
            back = False
        if not back:
            os.abort()


def taken_on(theirs: Rights, ours: Rights, *, more: int = 0) -> AbstractContextManager[None]:
    """Act as *theirs* in this thread.

    Args:
        theirs: The target's.
        ours: This thread's own, to go back to.
        more: Capabilities that the act itself needs.

    Raises:
        KernelError: EPERM, on entering: we may not.
    """
    return _TakenOn(theirs, ours, more, alike=theirs.ids == ours.ids)


def limited(effective: int, ours: Rights) -> AbstractContextManager[None]:
    """Act with no more than *effective* in this thread, and with the ids that it has.

    That is all there is to take on where ids are the same, and all that can be where a user
    namespace has none: not even one's own can be set there.
    """
    return _TakenOn(replace(ours, effective=effective), ours, 0, alike=True)


def _take_ids(theirs: Rights, ours: Rights) -> None:
    if theirs.groups != ours.groups:
        _set_groups(theirs.groups)
    _set("setresgid", _KEEP, theirs.gid, _KEEP)
    _set("setresuid", _KEEP, theirs.uid, _KEEP)
    if (theirs.fsuid, theirs.fsgid) == (theirs.uid, theirs.gid):
        return
    # Others than the effective ones take a capability, which may have gone with our user id.
    _set_effective(ours.permitted, ours.permitted)
    for call, wanted in (("setfsgid", theirs.fsgid), ("setfsuid", theirs.fsuid)):
        _set(call, wanted)
        if syscall(_number(call), _KEEP) != wanted:
            raise KernelError(errno.EPERM, f"{call}(2)")


def _give_ids_back(ours: Rights, *, groups: bool) -> None:
    _set("setresuid", _KEEP, ours.uid, _KEEP)
    _set("setresgid", _KEEP, ours.gid, _KEEP)
    if groups:
        _set_groups(ours.groups)
    _set("setfsuid", ours.fsuid)
    _set("setfsgid", ours.fsgid)


def _ids_are_back(ours: Rights) -> bool:
    # Opens nothing: that a target has used up our descriptors must not look like a failure.
    return (
        os.getresuid()[1] == ours.uid
        and os.getresgid()[1] == ours.gid
        and syscall(_number("setfsuid"), _KEEP) == ours.fsuid
        and syscall(_number("setfsgid"), _KEEP) == ours.fsgid
    )


def are_mine(known: Rights) -> bool:
    """Whether *known* still are this thread's own ids, groups and capabilities.

    That takes a fourth of the time that `mine` does.
    """
    words = _capabilities()
    return (
        words[0] | words[3] << 32 == known.effective
        and words[1] | words[4] << 32 == known.permitted
        and os.getresuid() == (known.real[0], known.uid, known.saved[0])
        and os.getresgid() == (known.real[1], known.gid, known.saved[1])
        and tuple(os.getgroups()) == known.groups
        and _ids_are_back(known)
    )


def _set_groups(groups: tuple[int, ...]) -> None:
    _set("setgroups", len(groups), struct.pack(f"={len(groups)}I", *groups))


def _set(call: str, *arguments: object) -> None:
    done = syscall(_number(call), *arguments)
    # The two old ones return the id that was, whatever happens.
    if call not in ("setfsuid", "setfsgid"):
        check(done, f"{call}(2)", hint="the supervisor lacks rights that it would need to act")


def _set_effective(effective: int, permitted: int) -> None:
    data = _packed(effective, permitted, _inheritable())
    if _of_thread(_number("capset"), _HEADER, data) < 0:
        raise KernelError(ctypes.get_errno(), "capset(2)")


@lru_cache(maxsize=256)
def _packed(*sets: int) -> bytes:
    words = [word & 0xFFFFFFFF for word in (*sets, *(word >> 32 for word in sets))]
    return struct.pack("=6I", *words)


@cache
def _inheritable() -> int:
    # It never changes by what is done here.
    words = _capabilities()
    return words[2] | words[5] << 32


def _effective_now() -> int:
    words = _capabilities()
    return words[0] | words[3] << 32


def _capabilities() -> tuple[int, ...]:
    """Lower words of effective, permitted and inheritable ones, and the three higher words."""
    data = ctypes.create_string_buffer(24)
    if _of_thread(_number("capget"), _HEADER, data) < 0:
        raise KernelError(errno.EPERM, "capget(2)")
    return struct.unpack("=6I", data)


# With its arguments' types told once, as openat2's: these are asked with each act.
_of_thread: Final = ctypes.CFUNCTYPE(
    *(ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p),
    use_errno=True,
)(("syscall", libc))


def become(uid: int, gid: int, *groups: int) -> None:
    """Take these ids, for good."""
    if mine().groups != groups:
        _set_groups(groups)
    _set("setresgid", gid, gid, gid)
    _set("setresuid", uid, uid, uid)


def settle() -> None:
    """Take ids that exist in this user namespace, for whoever has just entered it."""
    # Groups first: with the user id of somebody else there may be no right to them.
    for kind, call in (("gid", "setresgid"), ("uid", "setresuid")):
        with open(f"/proc/self/{kind}_map") as table:
            inside = [int(line.split()[0]) for line in table]
        if not inside:
            raise KernelError(errno.EPERM, "setns(2)", "the user namespace has no ids yet")
        first = min(inside)
        _set(call, first, first, first)
