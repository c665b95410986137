"""Spawning as another user, without no_new_privs, and in a pid namespace."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.spawn_support import (
    always,
    answer,
    apart,
    let_all_go,
    no_children,
    notify,
    open_fds,
    receive,
    supervised,
)
from unotify.abi.seccomp import Action
from unotify.errors import KernelError
from unotify.kernel.popen import Popen
from unotify.kernel.spawn import spawn

NOBODY = 65534
LOOK = ["grep", "-E", "^(Uid|Gid|Groups|Cap|NoNewPrivs|Umask)", "/proc/self/status"]
ALL = always(Action.USER_NOTIF)

CASES: dict[str, dict[str, Any]] = {
    "user": {"user": NOBODY},
    "user by name": {"user": "nobody"},
    "group": {"group": "nogroup"},
    "extra groups": {"extra_groups": [1, "daemon", 3]},
    "no groups": {"extra_groups": []},
    "all": {"user": "nobody", "group": NOBODY, "extra_groups": [], "umask": 0o077},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("program", [ALL, notify("getppid")], ids=["all", "getppid"])
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_same_ids_as_subprocess(
    options: dict[str, Any], program: bytes, no_new_privs: bool
) -> None:
    """User, groups and capabilities are what subprocess gives, whatever is trapped."""
    plain = subprocess.run(LOOK, stdout=subprocess.PIPE, check=True, **options).stdout
    popen_options = {"stdout": subprocess.PIPE, **options}
    spawned = spawn(program, LOOK, no_new_privs=no_new_privs, popen_options=popen_options)
    let_all_go(spawned)
    ours, _ = spawned.process.communicate()

    assert ours.decode().replace("NoNewPrivs:\t1", "NoNewPrivs:\t0") == plain.decode()
    assert (b"NoNewPrivs:\t1" in ours) == no_new_privs
    assert spawned.enforcement.no_new_privs == no_new_privs


def test_interpreter_that_the_user_cannot_reach(tmp_path: Path) -> None:
    """The launcher gives its ids up after its imports: its files may be private to root."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    process = Popen(
        ["id", "-u"],
        program=notify("getppid"),
        stdout=subprocess.PIPE,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=private,
    )
    with process.listener, process:
        output, _ = process.communicate()

    # As in subprocess the directory is entered before the ids change.
    assert output == b"65534\n"


def test_program_that_the_user_may_not_execute(tmp_path: Path) -> None:
    """Permissions are those of the new user, as in subprocess."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    before = open_fds()

    with pytest.raises(PermissionError) as caught:
        spawn(ALL, [str(program)], popen_options={"user": NOBODY})

    assert caught.value.filename == str(program)
    assert open_fds() == before
    assert no_children()


def test_filter_that_refuses_the_change_of_ids() -> None:
    """Without no_new_privs the ids change under the filter; an errno for that is raised."""
    program = answer(dict.fromkeys(["setreuid", "setregid"], Action.ERRNO | errno.EPERM))

    with pytest.raises(PermissionError) as caught:
        spawn(program, ["true"], no_new_privs=False, popen_options={"user": NOBODY})

    assert caught.value.filename is None
    assert no_children()


def test_setuid_programs_without_no_new_privs(tmp_path: Path) -> None:
    """S6: with ``no_new_privs=False`` a setuid program still gains its owner's rights."""
    if os.statvfs(tmp_path).f_flag & os.ST_NOSUID:
        pytest.skip("temporary files are mounted nosuid")
    shell = tmp_path / "id"
    shell.write_bytes(Path("/usr/bin/id").read_bytes())
    shell.chmod(0o4755)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    effective = {}
    for no_new_privs in (True, False):
        process = Popen(
            [str(shell), "-u"],
            program=notify("getppid"),
            no_new_privs=no_new_privs,
            stdout=subprocess.PIPE,
            user=NOBODY,
        )
        with process.listener, process:
            effective[no_new_privs] = process.communicate()[0]

    assert effective == {True: b"65534\n", False: b"0\n"}


def test_target_cannot_take_the_listener() -> None:
    """R5: an untrapped program of the same user finds no process that has its listener."""
    code = """if True:
        import os
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    if "seccomp" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                        found.append(pid)
            except OSError:
                pass
        print(found)
    """
    args = ["/usr/bin/python3", "-I", "-S", "-c", code]
    for _ in range(5):
        options = {"stdout": subprocess.PIPE, "user": NOBODY, "group": NOBODY, "extra_groups": []}
        with supervised(notify("getppid"), args, **options) as (process, _seen):
            assert process.communicate()[0] == b"[]\n"


def test_first_process_of_a_pid_namespace() -> None:
    """A launcher that is its namespace's first process may have no siblings: it works as well."""

    def work() -> Any:
        from unotify.kernel._libc import libc

        assert libc.unshare(0x20000000) == 0  # CLONE_NEWPID, for what is started next
        spawned = spawn(
            notify("getppid"),
            [sys.executable, "-I", "-S", "-c", "import os; os.getppid(); print(os.getpid())"],
            popen_options={"stdout": subprocess.PIPE},
        )
        seen = let_all_go(spawned)
        return seen, spawned.process.communicate()[0], spawned.process.returncode

    assert apart(work) == (["getppid"], b"1\n", 0)


def test_other_pid_namespace() -> None:
    """P4: started into an existing pid namespace, a program is seen by its pid out here."""

    def work() -> Any:
        import struct

        from unotify.kernel._libc import libc

        assert libc.unshare(0x20000000) == 0
        # Its init: as long as it lives the namespace does.
        with subprocess.Popen(["sleep", "60"]) as init:
            spawned = spawn(notify("getppid"), ["sh", "-c", "exit $$"])
            listener: Any = spawned.listener
            raw = receive(listener)
            assert raw is not None
            (pid,) = struct.unpack_from("=8xI", raw)
            spawned.backlog.append(raw)
            let_all_go(spawned)
            status = spawned.process.wait()
            init.send_signal(signal.SIGKILL)
        return pid == spawned.process.pid, 1 < status < 10, no_children()

    assert apart(work) == (True, True, True)


def test_supervisor_without_sys_admin() -> None:
    """S5: root without CAP_SYS_ADMIN gets EACCES for ``no_new_privs=False``, with the reason."""

    def work() -> Any:
        from unotify.kernel._libc import check, prctl

        # Out of the bounding set: the launcher, which is executed, does not get it back.
        check(prctl(24, 21), "prctl(2)")
        with pytest.raises(KernelError) as caught:
            spawn(notify("getppid"), ["true"], no_new_privs=False)
        return caught.value.errno, caught.value.hint, no_children()

    number, hint, clean = apart(work)

    assert (number, clean) == (errno.EACCES, True)
    assert "CAP_SYS_ADMIN" in hint


def test_ordinary_supervisor(as_nobody: dict[str, Any], tmp_path: Path) -> None:
    """A supervisor that is an ordinary user spawns and answers like root."""
    root = Path(__file__).parents[2]
    code = """if True:
        import sys
        sys.path[:0] = sys.argv[1:]
        from tests.kernel.spawn_support import always, let_all_go
        from unotify.abi.seccomp import Action
        from unotify.kernel.spawn import spawn
        spawned = spawn(always(Action.USER_NOTIF), ["id", "-u"])
        print(len(let_all_go(spawned)) > 10, spawned.process.wait())
    """
    probe = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
        check=False,
        **as_nobody,
    )
    if probe.returncode or not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("no Python that ordinary users can run")
    if subprocess.run(["test", "-r", str(root / "src")], check=False, **as_nobody).returncode:
        pytest.skip("ordinary users cannot read the sources here")
    done = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", code, str(root), str(root / "src")],
        capture_output=True,
        cwd="/",
        check=False,
        **as_nobody,
    )

    assert done.stderr == b""
    assert done.stdout == b"65534\nTrue 0\n"
