"""What a target is started with, read from the arguments of :mod:`subprocess`.

The checks and the errors are those of :class:`subprocess.Popen`, but made
before anything is started.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unotify.kernel import _libc

__all__ = ["Command", "StrOrBytesPath", "prepare"]

StrOrBytesPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# Signals that the launcher's interpreter changes, so that their dispositions
# must be handed on: Python catches the first and ignores the others.
_TAKEN = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True)
class Command:
    """All that the launcher does for the program, and all that the program gets.

    Attributes:
        executable: What errors name: the program that was looked for.
        candidates: The files to try, in order.
        cwd: The directory as the user gave it, or ``None``.
        ignored: Which of SIGINT, SIGPIPE and SIGXFSZ the target ignores.
    """

    executable: StrOrBytesPath
    candidates: tuple[bytes, ...]
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: StrOrBytesPath | None
    umask: int
    setsid: bool
    pgid: int | None
    groups: tuple[int, ...] | None
    gid: int | None
    uid: int | None
    ignored: tuple[int, ...]

    def spec(self) -> dict[str, Any]:
        """As plain values, for the launcher."""
        return {
            "candidates": list(self.candidates),
            "argv": list(self.argv),
            "env": list(self.env),
            "cwd": None if self.cwd is None else os.fsencode(self.cwd),
            "umask": self.umask,
            "setsid": self.setsid,
            "pgid": self.pgid,
            "groups": None if self.groups is None else list(self.groups),
            "gid": self.gid,
            "uid": self.uid,
            "ignored": list(self.ignored),
        }


def prepare(
    args: StrOrBytesPath | Sequence[StrOrBytesPath],
    *,
    executable: StrOrBytesPath | None = None,
    shell: bool = False,
    cwd: StrOrBytesPath | None = None,
    env: Mapping[Any, Any] | None = None,
    restore_signals: bool = True,
    start_new_session: bool = False,
    user: str | int | None = None,
    group: str | int | None = None,
    extra_groups: Iterable[str | int] | None = None,
    umask: int = -1,
    process_group: int | None = None,
) -> Command:
    """Read and check these arguments, which mean what they mean to subprocess.

    Raises:
        TypeError: As :class:`subprocess.Popen` does.
        ValueError: As :class:`subprocess.Popen` does: NUL bytes, bad names, negative ids.
        KeyError: No such user or group.
    """
    if isinstance(args, str | bytes):
        words: list[StrOrBytesPath] = [args]
    elif isinstance(args, os.PathLike):
        if shell:
            raise TypeError("path-like args is not allowed when shell is true")
        words = [args]
    else:
        words = list(args)
    if shell:
        words = [executable or "/bin/sh", "-c", *words]
    if not words:
        raise ValueError("there is no program to run: args is empty")
    program = words[0] if executable is None else executable
    argv = tuple(map(os.fsencode, words))
    if env is None:
        env_list = _libc.environ()
    else:
        env_list = tuple(_variable(name, value) for name, value in env.items())
    candidates = _candidates(os.fsencode(program), env)
    for text in (*argv, *env_list, *candidates, b"" if cwd is None else os.fsencode(cwd)):
        if b"\0" in text:
            raise ValueError("embedded null byte")
    return Command(
        executable=program,
        candidates=candidates,
        argv=argv,
        env=env_list,
        cwd=cwd,
        umask=umask,
        setsid=bool(start_new_session),
        pgid=process_group,
        groups=None if extra_groups is None else _groups(extra_groups),
        gid=None if group is None else _group(group, "group"),
        uid=None if user is None else _user(user),
        ignored=_ignored(restore_signals),
    )


def _variable(name: Any, value: Any) -> bytes:
    key = os.fsencode(name)
    if b"=" in key:
        raise ValueError("illegal environment variable name")
    return key + b"=" + os.fsencode(value)


def _candidates(program: bytes, env: Mapping[Any, Any] | None) -> tuple[bytes, ...]:
    if os.path.dirname(program):
        return (program,)
    return tuple(os.path.join(os.fsencode(path), program) for path in os.get_exec_path(env))


def _user(user: str | int) -> int:
    if isinstance(user, str):
        return pwd.getpwnam(user).pw_uid
    return _id(user, "user")


def _group(group: str | int, what: str) -> int:
    if isinstance(group, str):
        return grp.getgrnam(group).gr_gid
    return _id(group, what)


def _groups(groups: Iterable[str | int]) -> tuple[int, ...]:
    if isinstance(groups, str):
        raise TypeError("extra_groups must be a list, not a string")
    return tuple(_group(group, "each of extra_groups") for group in groups)


def _id(value: object, what: str) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{what} must be a string or an integer, not {type(value).__name__}")
    # 2**32 - 1 is -1 to the kernel: it would mean "leave it as it is".
    if not 0 <= value < 2**32 - 1:
        raise ValueError(f"{what} is not a valid id: {value}")
    return value


def _ignored(restore_signals: bool) -> tuple[int, ...]:
    restored = (signal.SIGPIPE, signal.SIGXFSZ) if restore_signals else ()
    return tuple(
        int(number)
        for number in _TAKEN
        if number not in restored and signal.getsignal(number) is signal.SIG_IGN
    )
