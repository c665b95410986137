"""Nobody who plays root writes to the store that remembers it."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel.cli_support import cli
from tests.kernel.fake_root_support import played, python
from unotify.handlers.ownership import Store

HEAD = """
import ctypes, errno, json, os, struct, sys
store, beside = sys.argv[1:3]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def tried(what, *args, **more):
    try:
        what(*args, **more)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
def call(number, *args):
    words = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in args]
    done = libc.syscall(ctypes.c_long(number), *words)
    return "done" if done >= 0 else errno.errorcode[ctypes.get_errno()]
"""

ATTACKS = {
    "open": ("os.open(store, os.O_WRONLY)", "EACCES"),
    "open to read and write": ("os.open(store, os.O_RDWR)", "EACCES"),
    "open to append": ("os.open(store, os.O_WRONLY | os.O_APPEND)", "EACCES"),
    "cut while reading": ("os.open(store, os.O_RDONLY | os.O_TRUNC)", "EACCES"),
    "make it": ("os.open(store, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)", "EACCES"),
    "make it anew": ("os.open(store, os.O_WRONLY | os.O_CREAT | os.O_EXCL)", "EEXIST"),
    "truncate": ("os.truncate(store, 0)", "EACCES"),
    "remove": ("os.unlink(store)", "EBUSY"),
    "move": ("os.rename(store, beside)", "EBUSY"),
    "replace": ("os.rename(beside, store)", "EBUSY"),
    "another name": ("os.link(store, beside + '2')", "EPERM"),
    "close it": ("os.chmod(store, 0)", "EPERM"),
    "move its directory": (
        "os.rename(os.path.dirname(store), os.path.dirname(store) + '2')",
        "EBUSY",
    ),
}


def _said(code: str, store: Path, *args: object) -> Any:
    code = HEAD + textwrap.dedent(code)
    return json.loads(played(*python(code, store, *args), store=store))


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """A store with something in it, and a file beside."""
    (tmp_path / "deep").mkdir()
    store = tmp_path / "deep" / "store"
    (tmp_path / "file").touch()
    played("chown", "5:6", str(tmp_path / "file"), store=store)
    (tmp_path / "deep" / "beside").write_bytes(store.read_bytes().replace(b",5,6,", b",9,9,"))
    return store


def _unharmed(store: Path) -> None:
    path = store.parents[1] / "file"
    assert played("stat", "-c", "%u %g", str(path), store=store) == "5 6\n"


def test_each_way_to_it(place: Path) -> None:
    """Each call that could change it fails; reading it, and writing elsewhere, go on."""
    attempts = ", ".join(f"tried(lambda: {attack})" for attack, _ in ATTACKS.values())
    said = _said(
        f"""
        found = [{attempts}]
        os.close(os.open(store, os.O_RDONLY))
        with open(beside + "3", "w") as file: file.write("mine")
        os.truncate(beside + "3", 1), os.link(beside + "3", beside + "4"), os.unlink(beside + "4")
        print(json.dumps(found))
        """,
        place,
        place.parent / "beside",
    )
    assert dict(zip(ATTACKS, said, strict=True)) == {
        name: end for name, (_, end) in ATTACKS.items()
    }
    assert (place.parent / "beside3").read_text() == "m"
    _unharmed(place)


def test_other_spellings(place: Path) -> None:
    """Links, descriptors and other directories lead to the same file, so they do not help."""
    said = _said(
        """
        os.symlink(store, beside + ".link")
        path = os.open(store, os.O_PATH)
        reading = os.open(store, os.O_RDONLY)
        directory = os.open(os.path.dirname(store), os.O_RDONLY)
        how = struct.pack("QQQ", os.O_RDWR, 0, 0)
        peek = struct.pack("QQQ", os.O_PATH, 0, 0)
        os.chdir("/")
        handle = ctypes.create_string_buffer(struct.pack("I", 128), 136)
        mount = ctypes.c_int()
        assert libc.name_to_handle_at(-100, store.encode(), handle, ctypes.byref(mount), 0) == 0
        print(json.dumps([
            call(304, directory, handle.raw, os.O_RDWR),
            tried(os.open, beside + ".link", os.O_WRONLY),
            tried(os.open, f"/proc/self/fd/{path}", os.O_WRONLY),
            tried(os.open, f"/proc/thread-self/fd/{reading}", os.O_RDWR),
            tried(os.open, "store", os.O_RDWR, dir_fd=directory),
            tried(os.open, "../" * 30 + store, os.O_RDWR),
            tried(os.unlink, "store", dir_fd=directory),
            call(437, -100, store.encode(), how, 24), call(437, -100, store.encode(), peek, 24),
            call(265, path, b"", directory, b"x", 0x1000),
            call(265, -100, b"/proc/self/fd/%d" % path, directory, b"x", 0x400),
            call(316, -100, store.encode(), -100, beside.encode(), 2),
        ]))
        """,
        place,
        place.parent / "beside",
    )
    expected = ["EPERM"] + ["EACCES"] * 5 + ["EBUSY", "EACCES", "ENOSYS", "EPERM", "EPERM", "EBUSY"]
    assert said == expected
    _unharmed(place)


def test_names_that_change_meanwhile(place: Path) -> None:
    """A link that is turned to the store again and again is followed once, and then is its file."""
    said = _said(
        """
        import threading
        link, other = beside + ".turning", beside + ".mine"
        open(other, "w").close()
        os.symlink(other, link), os.symlink(store, link + "2")
        done = threading.Event()
        def turn():
            while not done.is_set():
                libc.renameat2(-100, link.encode(), -100, link.encode() + b"2", 2)
        thread = threading.Thread(target=turn)
        thread.start()
        ends = {"done": 0, "EACCES": 0}
        for _ in range(200):
            try:
                fd = os.open(link, os.O_RDWR | os.O_CREAT)
                os.write(fd, b"damage"), os.close(fd)
                ends["done"] += 1
            except OSError as error:
                ends[errno.errorcode[error.errno]] += 1
        done.set(), thread.join()
        print(json.dumps(ends))
        """,
        place,
        place.parent / "beside",
    )
    assert sum(said.values()) == 200
    _unharmed(place)


def test_files_that_appear_meanwhile(place: Path) -> None:
    """A file that another thread makes and moves away all the time is opened, or made anew."""
    said = _said(
        """
        import threading
        name, link = beside + ".now", beside + ".then"
        done = threading.Event()
        os.symlink(name, link)
        def appear():
            while not done.is_set():
                try:
                    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                except FileExistsError:
                    pass
                os.unlink(name)
        thread = threading.Thread(target=appear)
        thread.start()
        ends = []
        for number in range(100):
            path = (name, link)[number % 2]
            ends.append(tried(lambda: os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))))
        done.set()
        thread.join()
        print(json.dumps(sorted(set(ends))))
        """,
        place,
        place.parent / "beside",
    )
    assert said == ["done"]
    _unharmed(place)


def test_paths_that_are_rewritten_meanwhile(place: Path) -> None:
    """Another thread changes the path under the call: what was read is what is opened."""
    said = _said(
        """
        import mmap, threading
        other = beside + ".mine"
        open(other, "w").close()
        page = mmap.mmap(-1, 4096)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        texts = [text.encode().ljust(1024, b"\\0") for text in (other, store)]
        done = threading.Event()
        def rewrite():
            while not done.is_set():
                for text in texts: ctypes.memmove(address, text, 1024)
        thread = threading.Thread(target=rewrite)
        thread.start()
        opened = []
        for _ in range(200):
            fd = libc.syscall(ctypes.c_long(257), ctypes.c_long(-100), ctypes.c_long(address),
                              ctypes.c_long(os.O_RDWR))
            if fd >= 0:
                opened.append(os.fstat(fd).st_ino), os.write(fd, b"damage"), os.close(fd)
        done.set(), thread.join()
        print(json.dumps([sorted(set(opened)), os.stat(other).st_ino, os.stat(store).st_ino]))
        """,
        place,
        place.parent / "beside",
    )
    opened, _, kept = said
    assert kept not in opened
    _unharmed(place)


def test_through_an_overlay(place: Path) -> None:
    """A file system that is stacked above it, in a user namespace, shows another inode."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        missing("this user may make no user namespace")
    top = place.parents[1]
    for name in ("lower", "work", "merged"):
        (top / name).mkdir()
    code = HEAD + textwrap.dedent(
        """
        import subprocess
        assert libc.unshare(0x10000000 | 0x20000) == 0  # CLONE_NEWUSER | CLONE_NEWNS
        uid, gid = beside.split(":")
        maps = {"setgroups": "deny", "uid_map": f"0 {uid} 1", "gid_map": f"0 {gid} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        options = b"userxattr,lowerdir=lower,upperdir=deep,workdir=work"
        mounted = libc.mount(b"overlay", b"merged", b"overlay", 0, options)
        assert mounted == 0, errno.errorcode[ctypes.get_errno()]
        os.chdir("merged")
        with open("other", "w") as file:
            file.write("mine")
        attacks = [
            lambda: os.open("store", os.O_WRONLY), lambda: os.truncate("store", 0),
            lambda: os.unlink("store"), lambda: os.rename("store", "x"),
            lambda: os.rename("other", "store"), lambda: os.link("store", "x"),
        ]
        found = [tried(attack) for attack in attacks]
        os.setxattr(store, "user.overlay.origin", b"")  # with it, numbers come from elsewhere
        print(json.dumps([*found, tried(os.open, "store", os.O_RDWR)]))
        """
    )
    args = python(code, place, f"{os.geteuid()}:{os.getegid()}")
    said = json.loads(played(*args, store=place, cwd=top))
    assert said == ["EACCES", "EACCES", "EBUSY", "EBUSY", "EBUSY", "EPERM", "EACCES"]
    _unharmed(place)


def test_the_supervisor_is_closed_to_its_user(tmp_path: Path) -> None:
    """The program is the same user's, and yet gets neither memory nor descriptors of it."""
    if os.geteuid() == 0:
        pytest.skip("root may look into everybody; the ordinary user's run has this")
    code = HEAD + textwrap.dedent(
        """
        import signal
        pid = os.getppid()
        pidfd = os.pidfd_open(pid)
        buffer = ctypes.create_string_buffer(8)
        iovec = struct.pack("QQ", ctypes.addressof(buffer), 8)
        print(json.dumps([
            tried(os.listdir, f"/proc/{pid}/fd"),
            tried(os.open, f"/proc/{pid}/mem", os.O_RDONLY),
            *(call(438, pidfd, fd, 0) for fd in range(3, 16)),
            call(310, pid, iovec, 1, iovec, 1, 0),
            call(101, 16, pid, 0, 0),
        ]))
        """
    )
    done = cli("run", "--fake-root", str(tmp_path / "store"), "--", *python(code, "", ""))
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert len(said) == 17
    assert set(said) <= {"EACCES", "EPERM"}


def test_after_the_supervisor(place: Path) -> None:
    """When it was killed, what it watched over can still not be opened: nobody answers."""
    code = HEAD + textwrap.dedent(
        """
        import signal
        os.kill(os.getppid(), signal.SIGKILL)
        while True:  # until the listener is closed
            end = tried(os.open, store, os.O_WRONLY)
            if end != "EACCES":
                break
        print(json.dumps([end, tried(os.unlink, store), tried(os.rename, beside, store)]))
        """
    )
    done = cli(
        "run", "--fake-root", str(place), "--", *python(code, place, place.parent / "beside")
    )
    assert json.loads(done.stdout) == ["ENOSYS"] * 3
    with Store(place) as store:
        assert len(store) == 1
