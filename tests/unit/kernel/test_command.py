"""Reading the arguments of subprocess."""

from __future__ import annotations

import grp
import os
import pwd
import signal
from pathlib import Path
from typing import Any

import pytest

from unotify.kernel.command import prepare

ME = pwd.getpwuid(0)


@pytest.mark.parametrize(
    ("args", "shell", "expected"),
    [
        (["a", "b"], False, (b"a", b"b")),
        ("a b", False, (b"a b",)),
        (b"a", False, (b"a",)),
        (Path("/x/y"), False, (b"/x/y",)),
        ((Path("a"), b"b", "\udcff"), False, (b"a", b"b", b"\xff")),
        ("a b", True, (b"/bin/sh", b"-c", b"a b")),
        (["a", "b"], True, (b"/bin/sh", b"-c", b"a", b"b")),
    ],
)
def test_argv(args: Any, shell: bool, expected: tuple[bytes, ...]) -> None:
    """Strings, bytes, paths and lists of them become what the program gets."""
    assert prepare(args, shell=shell).argv == expected


def test_executable_replaces_the_file_not_the_name() -> None:
    """`executable` is what runs; the program still sees its first argument."""
    command = prepare(["name", "x"], executable="/bin/true")

    assert command.candidates == (b"/bin/true",)
    assert command.argv == (b"name", b"x")
    assert command.executable == "/bin/true"


def test_executable_with_shell() -> None:
    """With a shell, `executable` is that shell, and its name."""
    command = prepare("x", executable="/bin/bash", shell=True)

    assert command.candidates == (b"/bin/bash",)
    assert command.argv == (b"/bin/bash", b"-c", b"x")


def test_candidates_come_from_the_path_of_env() -> None:
    """A name without a slash is looked for in PATH: that of `env` if it is given."""
    command = prepare(["x"], env={"PATH": "/a:/b:"})

    assert command.candidates == (b"/a/x", b"/b/x", b"x")


def test_candidates_without_a_path() -> None:
    """Without PATH in `env` the default of the system is searched."""
    expected = tuple(os.fsencode(f"{path}/x") for path in os.defpath.split(":"))

    assert prepare(["x"], env={}).candidates == expected


def test_slash_means_one_file() -> None:
    """A name with a slash is not looked for."""
    assert prepare(["./x"], env={"PATH": "/a"}).candidates == (b"./x",)


def test_env() -> None:
    """Names and values may be text, bytes or paths."""
    command = prepare(["x"], env={"A": "b", b"C": b"=", "D": Path("/")})

    assert command.env == (b"A=b", b"C==", b"D=/")


def test_own_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `env` the program gets ours as it is now."""
    monkeypatch.setenv("UNOTIFY_TEST_VARIABLE", "x=y")

    assert b"UNOTIFY_TEST_VARIABLE=x=y" in prepare(["x"]).env


def test_names_of_users_and_groups() -> None:
    """Users and groups may be names."""
    group = grp.getgrgid(0).gr_name
    command = prepare(["x"], user=ME.pw_name, group=group, extra_groups=[group, 5])

    assert (command.uid, command.gid, command.groups) == (0, 0, (0, 5))


def test_nothing_asked_is_nothing_changed() -> None:
    """Without options the launcher changes nothing."""
    command = prepare(["x"])

    assert (command.uid, command.gid, command.groups, command.pgid) == (None, None, None, None)
    assert (command.umask, command.setsid, command.cwd) == (-1, False, None)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"user": -1}, ValueError),
        ({"user": 2**32 - 1}, ValueError),
        ({"group": -5}, ValueError),
        ({"extra_groups": [-1]}, ValueError),
        ({"extra_groups": "root"}, TypeError),
        ({"extra_groups": [1.0]}, TypeError),
        ({"group": b"root"}, TypeError),
        ({"user": "no such user"}, KeyError),
        ({"env": {"A=B": ""}}, ValueError),
        ({"env": {"A": "\0"}}, ValueError),
        ({"cwd": "\0"}, ValueError),
        ({"executable": "\0"}, ValueError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    """What no launch could do is refused here."""
    with pytest.raises(error):
        prepare(["x"], **options)


@pytest.mark.parametrize("args", [[], ()])
def test_no_program(args: Any) -> None:
    """Without a program there is nothing to start."""
    with pytest.raises(ValueError, match="empty"):
        prepare(args)


def test_path_with_shell() -> None:
    """A path is no shell script, as subprocess says."""
    with pytest.raises(TypeError, match="shell"):
        prepare(Path("x"), shell=True)


@pytest.mark.parametrize(
    ("handler", "restore", "expected"),
    [
        (signal.SIG_IGN, False, (int(signal.SIGPIPE),)),
        (signal.SIG_IGN, True, ()),
        (signal.SIG_DFL, False, ()),
        (print, False, ()),
    ],
)
def test_ignored_signals(handler: Any, restore: bool, expected: tuple[int, ...]) -> None:
    """SIGPIPE stays ignored only if we ignore it and `restore_signals` is off."""
    old = signal.signal(signal.SIGPIPE, handler)
    old_size = signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        assert prepare(["x"], restore_signals=restore).ignored == expected
    finally:
        signal.signal(signal.SIGPIPE, old)
        signal.signal(signal.SIGXFSZ, old_size)


def test_spec_is_plain() -> None:
    """The launcher, which imports nothing of ours, can read it."""
    import marshal

    spec = prepare(["x"], cwd=Path("/"), extra_groups=[1]).spec()

    assert marshal.loads(marshal.dumps(spec)) == spec
    assert spec["cwd"] == b"/"
