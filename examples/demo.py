"""unotify in five minutes: what an unprivileged program asks for, and what it gets.

A real shell without any privilege tries to mount a disk, to bind-mount a
directory of its own, to load a kernel module and to read a file that does not
exist. The kernel would refuse all four. Here a supervisor is asked instead, and
decides call by call. Run it with `make demo`, as root or not.

Read it from the bottom: `main` starts the program, the handlers above it decide.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
import tempfile
from enum import IntFlag
from pathlib import Path

from unotify import Continue, Fail, InstallFd, Instrument, Refused, Reply, Return, Supervisor
from unotify.abi import number
from unotify.abi.constants import MountFlags
from unotify.calls import Call, FinitModule, Fsopen, Mount, OpenAt, OpenTree, TargetPath

PHANTOM = TargetPath("/etc/answer")  # there is no such file
PLACES = ("disk", "from", "to", "child1", "child2")
UMOUNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)
scratch = Path(tempfile.gettempdir()).resolve() / f"unotify-demo-{os.getpid()}"
supervisor = Supervisor()


# ---- The decisions ---------------------------------------------------------------------


@supervisor.on(Mount, where=Mount.flags & MountFlags.MS_BIND)
def bind_mount(call: Mount) -> Reply:
    """Carry a bind mount out, if both ends lie in the scratch directory.

    The paths are read once. What they name is then opened and held, checked,
    and mounted through the open descriptors, so nothing that the program renames
    or rewrites meanwhile can change what happens.
    """
    if call.source is None or call.flags & ~(MountFlags.MS_BIND | MountFlags.MS_REC):
        return Fail(errno.EPERM)
    source, target = pinned(call.source), pinned(call.target)
    try:
        if not call.caller.is_waiting():
            return Fail(errno.EINTR)
        mount(f"/proc/self/fd/{source}", f"/proc/self/fd/{target}", MountFlags.MS_BIND)
    finally:
        os.close(source)
        os.close(target)
    return Return(0)


@supervisor.on(Mount)
def other_mount(call: Mount) -> Reply:
    """All other mounts are refused; this handler is asked after the one above."""
    return Fail(errno.EPERM)


@supervisor.on(FinitModule)
def load_module(call: FinitModule) -> Reply:
    """No kernel modules. The reason goes to the log, not to the program."""
    notes[call.exchange.id] = "modules are not for guests"
    return Fail(errno.EPERM)


@supervisor.on(OpenAt)
def open_phantom(call: OpenAt) -> Reply:
    """Give the program a file that exists nowhere: a descriptor is put into it."""
    if call.path != PHANTOM:
        # Checked memory may be rewritten before the kernel reads it: usually a hole.
        return Continue.racy(because="any other path is opened with the program's own rights")
    content = os.memfd_create("answer")
    os.write(content, b"The answer is 42.\n")
    os.lseek(content, 0, os.SEEK_SET)
    return InstallFd(content, owned=True, cloexec=bool(call.flags & os.O_CLOEXEC))


@supervisor.on(Fsopen, OpenTree)
def new_mount_api(call: Fsopen | OpenTree) -> Reply:
    """Newer mount(8) programs try these first, and fall back to mount(2)."""
    return Fail(errno.ENOSYS)


def pinned(path: TargetPath) -> int:
    """Open the directory at *path* in the scratch directory, or refuse."""
    if not path.is_relative_to(scratch):
        raise Refused(errno=errno.EPERM)
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    # The path was a wish; this is what it names, links in the middle included.
    where = Path(os.readlink(f"/proc/self/fd/{fd}"))
    if not stat.S_ISDIR(os.fstat(fd).st_mode) or not where.is_relative_to(scratch):
        os.close(fd)
        raise Refused(errno=errno.EPERM)
    return fd


def mount(source: str, target: str, flags: int) -> None:
    """Make a mount: Python has no function for it."""
    if libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None):
        raise Refused(errno=ctypes.get_errno())


# ---- The program -----------------------------------------------------------------------

PROGRAM = r"""
if test -t 1; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
say() { printf '\n%s\n' "$bold$1$plain"; }
say "1. a disk"
mount -t ext4 /dev/vda "$SCRATCH/disk"
say "2. a directory of mine, bound to another place"
echo hello > "$SCRATCH/from/greeting"
mount --bind "$SCRATCH/from" "$SCRATCH/to" && echo "seen there: $(cat "$SCRATCH/to/greeting")"
say "3. a kernel module"
"$PYTHON" -c 'import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(int(os.environ["FINIT_MODULE"]), 0, b"", 0):
    print("finit_module:", os.strerror(ctypes.get_errno()))'
say "4. a file that does not exist"
cat /etc/answer
say "5. two children, one listener"
for child in child1 child2; do mount --bind "$SCRATCH/from" "$SCRATCH/$child" & done; wait
echo "they see: $(cat "$SCRATCH"/child?/greeting | tr '\n' ' ')"
"""


# ---- The table -------------------------------------------------------------------------

notes: dict[int, str] = {}
rows: list[tuple[str, str, str, str]] = []


class Table(Instrument):
    """Notes each call and its answer; files that the program opens itself are only counted."""

    def __init__(self) -> None:
        self.asked: dict[Call, tuple[str, str]] = {}

    def deciding(self, call: Call, reply: Reply, handler: str) -> None:
        """The program still waits: who is it, what did it ask?"""
        if not isinstance(reply, Continue):
            asked = ", ".join(shown(value) for value in call.describe().values())
            asked = asked.replace(str(scratch), "$SCRATCH")
            self.asked[call] = (
                f"{call.caller.comm} {call.caller.pid}",
                f"{call.call_name}({asked})",
            )

    def replied(self, call: Call, reply: Reply, handler: str, nanoseconds: int) -> None:
        """The answer is out."""
        if call in self.asked:
            answer = f"{reply_text(reply)} {notes.get(call.exchange.id, '')}"
            rows.append((*self.asked.pop(call), answer, f"{nanoseconds / 1000:.0f}"))


def shown(value: object) -> str:
    """An argument, short."""
    if isinstance(value, IntFlag):
        return value.name or "0"
    return str(value) if isinstance(value, int | str | TargetPath) else "NULL"


def reply_text(reply: Reply) -> str:
    """A reply, as a person would say it."""
    match reply:
        case Fail(number):
            return errno.errorcode[number]
        case InstallFd():
            return "a descriptor"
        case _:
            return "done for it"


def main() -> int:
    """Run the program under supervision, then show what happened."""
    supervisor.add_instrument(Table())
    for name in PLACES:
        (scratch / name).mkdir(parents=True)
    # Without any capability, and with no way to get one: an unprivileged program.
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    environment = os.environ | {"SCRATCH": str(scratch), "PYTHON": sys.executable}
    environment["FINIT_MODULE"] = str(number("finit_module", supervisor.kernel.arch))
    done = supervisor.run([*unprivileged, "sh", "-c", PROGRAM], env=environment)
    supervisor.close()
    for name in PLACES:
        libc.umount2(os.fsencode(scratch / name), UMOUNT_DETACH)
    shutil.rmtree(scratch)
    show(rows)
    return done.returncode


def show(rows: list[tuple[str, str, str, str]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table as RichTable

    table = RichTable(title="\nWhat was asked, what was answered", title_justify="left")
    for column in ("who", "asked", "answered", "µs"):
        table.add_column(column, justify="right" if column == "µs" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    counted = supervisor.statistics()
    print(
        f"{counted.received} calls were notified: {len(rows)} are shown above, {counted.racy} other"
        f" files were opened by the program itself; half of all answers took less than"
        f" {counted.quantile(0.5)} µs."
    )


if __name__ == "__main__":
    if "UNOTIFY_DEMO" not in os.environ:
        # A mount namespace of our own, so that nothing is left behind; without root, in
        # a user namespace where we may mount.
        os.environ["UNOTIFY_DEMO"] = "1"
        own = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        os.execvp("unshare", ["unshare", *own, sys.executable, *sys.argv])
    raise SystemExit(main())
