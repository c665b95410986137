"""A process that has nothing but what it is given, for data that nobody trusts.

Theory of operation. Whoever takes data of a target apart, such as an ELF file, may have a bug that
the data was made for. So that happens in a process of its own: an ordinary user without any
capability, with limits on memory, processor time and files, and under a filter that lets it
compute, read what is open already, and write its answer; nothing else. If it does not come to an
end in time it is killed. What it answers is a line of JSON, from which nobody has to believe more
than a number or a name.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from typing import Any, Final

from unotify.errors import KernelError, Refused

__all__ = ["confined", "confining_filters"]

_COMPUTES: Final = (
    "read pread64 write writev close fstat newfstatat lseek poll ppoll "
    "mmap mmap2 munmap mremap mprotect madvise brk "
    "rt_sigaction rt_sigprocmask rt_sigreturn restart_syscall futex futex_time64 sched_yield "
    "wait4 gettid getpid getrandom clock_gettime clock_gettime64 exit exit_group"
)
"""What it may call once it looks at the data; all else ends it."""

_STARTS: Final = (
    "execve pipe2 clone clone3 vfork fork readlink readlinkat access faccessat faccessat2 "
    "arch_prctl set_tid_address set_robust_list rseq prlimit64 ugetrlimit getrlimit fcntl fcntl64 "
    "dup dup2 dup3 close_range getuid geteuid getgid getegid getuid32 geteuid32 getgid32 getegid32 "
    "getppid uname statx fstat64 sysinfo sigaltstack sched_getaffinity getdents64 seccomp prctl "
    "ioctl set_thread_area"
)
"""And what else before, when it may start another program to help it; all else is EPERM."""

_START: Final = (
    "import os, sys; sys.path[:0] = os.environ['UNOTIFY_PATH'].split(os.pathsep); "
    "from unotify.kernel.confined_main import main; main(*sys.argv[1:])"
)
_OURS: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_LONGEST: Final = 1 << 16


@cache
def confining_filters() -> tuple[bytes, bytes]:
    """The filter for the beginning, and the one for the data; encoded, proved, and made once."""
    from unotify.abi import tables
    from unotify.abi.seccomp import PR_GET_NO_NEW_PRIVS, Action
    from unotify.bpf import Compare, CompareOp, compile_filter
    from unotify.kernel._libc import NATIVE

    numbers = tables.numbers(NATIVE)
    allow = int(Action.ALLOW)
    late: dict[int, Any] = {numbers[call]: allow for call in _COMPUTES.split() if call in numbers}
    # What `install` asks when it is done.
    asking = Compare(0, CompareOp.EQ, int(PR_GET_NO_NEW_PRIVS), bits=32)
    late[numbers["prctl"]] = ((asking, allow), int(Action.KILL_PROCESS))
    early: dict[int, Any] = {numbers[call]: allow for call in _STARTS.split() if call in numbers}
    refuse = int(Action.ERRNO) | errno.EPERM
    writing = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
    reading = Compare(2, CompareOp.EQ, 0, bits=32, mask=writing)
    early[numbers["openat"]] = ((reading, allow), refuse)
    return (
        compile_filter({NATIVE: {**late, **early}}, default=refuse).encode(),
        compile_filter({NATIVE: late}, default=Action.KILL_PROCESS).encode(),
    )


def confined(function: str, fd: int, *arguments: str, seconds: float = 5.0) -> Any:
    """Return what *function* finds out about the file *fd*, in a process of its own.

    Args:
        function: ``module:name`` of a function of this package, such as
            ``unotify.handlers.module_image:begin``. It takes a descriptor and the *arguments*. It
            has no rights any more, and may start a program to help it; it returns another function,
            which then looks at the data, under the stricter filter, and returns what JSON can say.
        fd: A descriptor that the process gets. Its position is nobody's to move.
        *arguments: For the function.
        seconds: How long it may take.

    Raises:
        Refused: The function raised it: has its errno. Or ENOEXEC: the data ended the process.
        KernelError: ETIMEDOUT: it took too long; or the process cannot be made.
    """
    early, late = confining_filters()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, function, str(fd), *arguments],
            env={
                "UNOTIFY_PATH": _OURS,
                "UNOTIFY_FILTERS": f"{early.hex()} {late.hex()}",
                "UNOTIFY_SECONDS": str(math.ceil(seconds)),
                "PATH": os.defpath,
                "LC_ALL": "C",
            },
            stdin=subprocess.DEVNULL,
            pass_fds=(fd,),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise KernelError(
            error.errno or errno.EAGAIN,
            "fork(2)",
            f"no process to look at data: {error.strerror}",
        ) from error
    with process:
        try:
            answer, _ = process.communicate(timeout=seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise KernelError(
                errno.ETIMEDOUT, "wait4(2)", f"looking at the data took more than {seconds:g} s"
            ) from None
    try:
        found: dict[str, Any] = json.loads(answer[:_LONGEST])
    except ValueError:
        raise Refused("the data ended whoever looked at it", errno=errno.ENOEXEC) from None
    if "errno" in found:
        raise Refused(str(found["why"]), errno=int(found["errno"]))
    return found["value"]
