"""Whose ids and capabilities a process pretends to have, and how calls change them; pure.

The rules are those of the kernel: credentials(7), capabilities(7) and the manual page of each
call. `Identity` is a value; a call makes another one, or raises `Refused` with the kernel's errno.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from unotify.errors import Refused

__all__ = ["ALL", "CHOWN", "FOWNER", "FSETID", "MKNOD", "ROOT", "Identity", "Ids", "denied"]

CHOWN: Final = 1 << 0
FOWNER: Final = 1 << 3
FSETID: Final = 1 << 4
SETGID: Final = 1 << 6
SETUID: Final = 1 << 7
SETPCAP: Final = 1 << 8
SYS_ADMIN: Final = 1 << 21
MKNOD: Final = 1 << 27
SETFCAP: Final = 1 << 31
ALL: Final = (1 << 41) - 1
"""Up to CAP_CHECKPOINT_RESTORE; there is none above it in Linux 6.18."""
_FILES: Final = CHOWN | 1 << 1 | 1 << 2 | FOWNER | FSETID | 1 << 9 | MKNOD | 1 << 32
"""Those that follow the user id of file systems (CAP_FS_MASK)."""

_NOROOT: Final = 1 << 0
_NO_SETUID_FIXUP: Final = 1 << 2
_KEEP_CAPS: Final = 1 << 4
_NO_AMBIENT: Final = 1 << 6
_SECUREBITS: Final = 0xFF
_LOCKS: Final = 0xAA
"""Every second bit locks the one below it (capabilities(7))."""


def denied(what: str) -> Refused:
    """What the kernel says to somebody who is not root."""
    return Refused(what, errno=errno.EPERM)


class Ids(NamedTuple):
    """User ids, or group ids."""

    real: int = 0
    effective: int = 0
    saved: int = 0
    fs: int = 0

    def set(self, new: int, *, privileged: bool) -> Ids:
        """As setuid(2)."""
        if privileged:
            return Ids(new, new, new, new)
        if new not in (self.real, self.saved):
            raise denied(f"an id of {new}")
        return self._replace(effective=new, fs=new)

    def set_two(self, real: int | None, effective: int | None, *, privileged: bool) -> Ids:
        """As setreuid(2)."""
        if not privileged:
            if real is not None and real not in (self.real, self.effective):
                raise denied(f"a real id of {real}")
            if effective is not None and effective not in self[:3]:
                raise denied(f"an effective id of {effective}")
        now = self.effective if effective is None else effective
        moved = real is not None or (effective is not None and effective != self.real)
        return Ids(self.real if real is None else real, now, now if moved else self.saved, now)

    def set_three(
        self, real: int | None, effective: int | None, saved: int | None, *, privileged: bool
    ) -> Ids:
        """As setresuid(2)."""
        for new in (real, effective, saved):
            if new is not None and not privileged and new not in self[:3]:
                raise denied(f"an id of {new}")
        now = self.effective if effective is None else effective
        return Ids(
            self.real if real is None else real, now, self.saved if saved is None else saved, now
        )

    def set_fs(self, new: int, *, privileged: bool) -> Ids:
        """As setfsuid(2), which says nothing of a refusal."""
        return self._replace(fs=new) if privileged or new in self else self

    def after_exec(self) -> Ids:
        """As execve(2) leaves them."""
        return self._replace(saved=self.effective, fs=self.effective)


_ROOT: Final = Ids()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process pretends to be.

    Attributes:
        uids: Its user ids.
        gids: Its group ids.
        groups: Its other groups.
        permitted: Capabilities, as a bit set; so are the four others.
        effective: Those that count.
        inheritable: Those that exec may keep.
        bounding: Those that exec may give.
        ambient: Those that exec keeps.
        securebits: As prctl(2) sets them, with SECBIT_KEEP_CAPS.
    """

    uids: Ids = _ROOT
    gids: Ids = _ROOT
    groups: tuple[int, ...] = (0,)
    permitted: int = ALL
    effective: int = ALL
    inheritable: int = 0
    bounding: int = ALL
    ambient: int = 0
    securebits: int = 0

    def has(self, capability: int) -> bool:
        """Whether it may what takes *capability*."""
        return bool(self.effective & capability)

    @property
    def keeps(self) -> bool:
        """PR_GET_KEEPCAPS."""
        return bool(self.securebits & _KEEP_CAPS)

    def in_group(self, gid: int) -> bool:
        """Whether files of group *gid* are its own group's."""
        return gid == self.gids.fs or gid in self.groups

    def with_uids(self, uids: Ids) -> Identity:
        """With other user ids, and what that does to capabilities."""
        old = self.uids
        changed = replace(self, uids=uids)
        if self.securebits & _NO_SETUID_FIXUP:
            return changed
        permitted, effective, ambient = self.permitted, self.effective, self.ambient
        if 0 in old[:3] and 0 not in uids[:3]:
            if not self.securebits & _KEEP_CAPS:
                permitted = effective = 0
            ambient = 0
        if old.effective == 0 and uids.effective != 0:
            effective = 0
        if old.effective != 0 and uids.effective == 0:
            effective = permitted
        return replace(changed, permitted=permitted, effective=effective, ambient=ambient)

    def with_fsuid(self, uids: Ids) -> Identity:
        """After setfsuid(2)."""
        effective = self.effective
        if not self.securebits & _NO_SETUID_FIXUP:
            if self.uids.fs == 0 and uids.fs != 0:
                effective &= ~_FILES
            elif self.uids.fs != 0 and uids.fs == 0:
                effective |= self.permitted & _FILES
        return replace(self, uids=uids, effective=effective)

    def with_groups(self, groups: tuple[int, ...]) -> Identity:
        """As setgroups(2)."""
        if not self.has(SETGID):
            raise denied("setgroups")
        return replace(self, groups=tuple(sorted(groups)))

    def with_capabilities(self, effective: int, permitted: int, inheritable: int) -> Identity:
        """As capset(2); of bits that no capability has nothing remains."""
        effective, permitted, inheritable = effective & ALL, permitted & ALL, inheritable & ALL
        may = self.inheritable | (self.bounding if self.has(SETPCAP) else self.permitted)
        if (
            inheritable & ~may
            or inheritable & ~(self.inheritable | self.bounding)
            or permitted & ~self.permitted
            or effective & ~permitted
        ):
            raise denied("more capabilities than there were")
        return replace(
            self,
            effective=effective,
            permitted=permitted,
            inheritable=inheritable,
            ambient=self.ambient & permitted & inheritable,
        )

    def without_bound(self, capability: int) -> Identity:
        """As PR_CAPBSET_DROP."""
        if not self.has(SETPCAP):
            raise denied("the bounding set")
        return replace(self, bounding=self.bounding & ~capability)

    def keeping(self, keep: bool) -> Identity:
        """As PR_SET_KEEPCAPS."""
        bits = self.securebits & ~_KEEP_CAPS
        return replace(self, securebits=bits | (_KEEP_CAPS if keep else 0))

    def with_securebits(self, bits: int) -> Identity:
        """As PR_SET_SECUREBITS; a bit that is locked stays."""
        locks = self.securebits & _LOCKS
        changed = bits ^ self.securebits
        if bits & ~_SECUREBITS or changed & (locks >> 1 | locks) or not self.has(SETPCAP):
            raise denied("securebits")
        return replace(self, securebits=bits)

    def with_ambient(self, capability: int, *, raised: bool) -> Identity:
        """As PR_CAP_AMBIENT with RAISE or LOWER."""
        if not raised:
            return replace(self, ambient=self.ambient & ~capability)
        if not self.permitted & self.inheritable & capability or self.securebits & _NO_AMBIENT:
            raise denied("to keep a capability over exec")
        return replace(self, ambient=self.ambient | capability)

    def after_exec(self) -> Identity:
        """As execve(2) of a program without set-user-ID and capabilities of its own leaves it."""
        uids, gids = self.uids.after_exec(), self.gids.after_exec()
        permitted = effective = self.ambient
        ambient = self.ambient
        if not self.securebits & _NOROOT and 0 in uids[:2]:
            permitted = self.inheritable | self.bounding
            effective = permitted if uids.effective == 0 else self.ambient
        return replace(
            self,
            uids=uids,
            gids=gids,
            permitted=permitted,
            effective=effective,
            ambient=ambient,
            securebits=self.securebits & ~_KEEP_CAPS,
        )


ROOT: Final = Identity()
"""Who all begin as."""
