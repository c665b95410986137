"""The launcher: a stand-alone program that becomes the target.

Theory of operation. `unotify.kernel.launching` runs this file with a bare
interpreter (``python -I -S launch.py CONTROL SPEC``) and passes two
descriptors: one end of a socket, and a memory file with all there is to do. The launcher

1. sets up what subprocess would (directory, umask, signals, session, ids);
2. makes a *helper*: a process with the same descriptor table, but no filter;
3. installs the filter and stores the listener's number into the shared memory
   file: a plain store, for it may not make a call that the filter could trap;
4. calls execve(2) at once, with arguments laid out beforehand.

The helper sees the number appear, sends that descriptor to the supervisor and
exits. So the listener arrives whatever the filter traps. execve(2) gives
the target its own descriptor table and closes the launcher's copies of the listener
and of the socket, by which the supervisor knows that the target has begun (R5).

Nothing of unotify is imported: the file is read by a bare interpreter, which is
half of the time that a launch takes. For the same reason it uses the C modules
below `socket` and `signal`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import ctypes
import errno
import marshal
import mmap
import os
import select
import sys
import time

# For type checkers, which know the name. The module `typing` itself would take as
# long to import as all the others together.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__: list[str] = []

# The shared words: what `unotify.kernel.launching.Header` reads.
LISTENER, STAGE, ERRNO, ATTEMPT, HELPER_FD, WORDS = range(6)
PENDING = -1
SPEC_OFFSET = 64

# Stages, as in `unotify.kernel.launching.Stage`.
CHDIR, SETUP, HELPER, NO_NEW_PRIVS, INSTALL, EXEC = range(1, 7)

CLONE_FILES, CLONE_PIDFD, CLONE_PARENT, SIGCHLD = 0x400, 0x1000, 0x8000, 17
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38
SET_MODE_FILTER = 1

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Fprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def syscall(number: int, *arguments: int) -> int:
    """Make a call; raises OSError."""
    result: int = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return result


def set_up(spec: dict[str, Any], words: Any) -> None:
    """Do what subprocess does between fork and exec, in its order, but for the ids."""
    # The interpreter took these three signals over; now they are again what the
    # program would have inherited. They come first, and SIGINT was blocked until
    # now: Ctrl-C ends the launcher without a traceback.
    for number in (_signal.SIGINT, _signal.SIGPIPE, _signal.SIGXFSZ):
        ignore = number in spec["ignored"]
        _signal.signal(number, _signal.SIG_IGN if ignore else _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, spec["mask"])
    words[STAGE] = CHDIR
    if spec["cwd"] is not None:
        os.chdir(spec["cwd"])
    words[STAGE] = SETUP
    if spec["umask"] >= 0:
        os.umask(spec["umask"])
    if spec["setsid"]:
        os.setsid()
    if spec["pgid"] is not None:
        os.setpgid(0, spec["pgid"])


def set_ids(spec: dict[str, Any], words: Any) -> None:
    """Take the groups and the user of the target."""
    words[STAGE] = SETUP
    if spec["groups"] is not None:
        os.setgroups(spec["groups"])
    if spec["gid"] is not None:
        os.setregid(spec["gid"], spec["gid"])
    if spec["uid"] is not None:
        os.setreuid(spec["uid"], spec["uid"])


def start_helper(spec: dict[str, Any], control: _socket.socket, words: Any) -> None:
    """Make the process that hands the listener over; it never returns from here."""
    words[STAGE] = HELPER
    # A target of the same user that runs already, since nothing traps its execve,
    # must not be able to trace the helper and to take the listener from it.
    # execve(2) sets this launcher's own flag again.
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    # A sibling, not a child: the program would find a child that it never made.
    # The first process of a pid namespace may not have siblings (EINVAL), but has
    # to expect children that it does not know.
    flags = CLONE_FILES | CLONE_PIDFD | SIGCHLD
    try:
        pid = clone(spec, flags | CLONE_PARENT, words)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pid = clone(spec, flags, words)
    if pid == 0:
        try:
            hand_over(control, words)
        finally:
            os._exit(0)
    # From here on the supervisor notices if the helper is killed, and this launcher
    # can risk to be trapped with nobody there to answer.
    send(control, words[HELPER_FD])


def clone(spec: dict[str, Any], flags: int, words: Any) -> int:
    """Fork with *flags*; the pidfd goes into the shared words, where both sides see it."""
    first = (flags, 0) if spec["clone_flags_first"] else (0, flags)
    pidfd = ctypes.addressof(words) + HELPER_FD * ctypes.sizeof(ctypes.c_int32)
    return syscall(spec["clone"], *first, pidfd, 0, 0)


def send(control: _socket.socket, *fds: int) -> None:
    """Send the helper's pidfd, and the listener if there is one, to the supervisor."""
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, (ctypes.c_int * len(fds))(*fds))
    control.sendmsg([b"F"], [rights], _socket.MSG_NOSIGNAL)


def hand_over(control: _socket.socket, words: Any) -> None:
    """Be the helper: send the listener to the supervisor as soon as there is one."""
    # Readable when the supervisor is gone, or has seen the launcher die. There is
    # no event to wait for: after the install the launcher makes no call but execve.
    poller = select.poll()
    poller.register(control.fileno(), select.POLLIN)
    while words[LISTENER] == PENDING and not words[ERRNO] and not poller.poll(0):
        time.sleep(0.0002)
    # The pidfd again: the launcher may have been killed before it could send it.
    listener = words[LISTENER]
    send(control, words[HELPER_FD], *([] if listener == PENDING else [listener]))


def install(spec: dict[str, Any], fprog: Fprog, words: Any) -> None:
    """Install the filter with the first set of flags that this kernel knows."""
    if spec["no_new_privs"]:
        words[STAGE] = NO_NEW_PRIVS
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "")
    words[STAGE] = INSTALL
    number, address = spec["seccomp"], ctypes.addressof(fprog)
    for attempt, flags in enumerate(spec["flags"]):
        words[ATTEMPT] = attempt
        try:
            words[LISTENER] = syscall(number, SET_MODE_FILTER, flags, address)
            return
        except OSError as error:
            # A failed install leaves no filter (F8).
            if error.errno != errno.EINVAL or attempt == len(spec["flags"]) - 1:
                raise


def launch(spec: dict[str, Any], control: _socket.socket, words: Any) -> None:
    """Become the target; returns, or raises OSError, only on failure."""
    set_up(spec, words)
    start_helper(spec, control, words)
    argv = (ctypes.c_char_p * (len(spec["argv"]) + 1))(*spec["argv"])
    environment = (ctypes.c_char_p * (len(spec["env"]) + 1))(*spec["env"])
    candidates = [ctypes.c_char_p(path) for path in spec["candidates"]]
    fprog = Fprog(len(spec["program"]) // 8, spec["program"])
    execve, get_errno = libc.execve, ctypes.get_errno
    # Without no_new_privs only a privileged process may install (S5), so it must
    # do that before it gives its ids up.
    if spec["no_new_privs"]:
        set_ids(spec, words)
        install(spec, fprog, words)
    else:
        install(spec, fprog, words)
        set_ids(spec, words)
    words[STAGE] = EXEC
    # As subprocess: go on to the next directory of PATH when there is nothing, and
    # report the first error that says more than that.
    last = telling = 0
    for path in candidates:
        execve(path, argv, environment)
        last = get_errno()
        if last not in (errno.ENOENT, errno.ENOTDIR) and not telling:
            telling = last
    words[ERRNO] = telling or last or errno.ENOENT


def main() -> None:
    """Read the specification, try, and leave the error for the supervisor."""
    control_fd, spec_fd = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(control_fd, False)
    os.set_inheritable(spec_fd, False)
    memory = mmap.mmap(spec_fd, 0)
    words = (ctypes.c_int32 * WORDS).from_buffer(memory)
    spec = marshal.loads(memory[SPEC_OFFSET:])
    try:
        launch(spec, _socket.socket(fileno=control_fd), words)
    except OSError as error:
        words[ERRNO] = error.errno or errno.EIO
    except MemoryError:
        words[ERRNO] = errno.ENOMEM
    finally:
        # The filter may refuse even this; then the supervisor kills the launcher.
        os._exit(127)


if __name__ == "__main__":
    main()
