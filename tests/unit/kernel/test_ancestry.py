"""Naming who supervises us already, from a procfs that the test wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unotify.kernel.ancestry import container, find

Row = tuple[int, str, int]  # pid, name, filters


def write_proc(root: Path, *rows: Row, release: str = "6.1.0", cgroup: str = "0::/\n") -> str:
    """A procfs in which each row is the parent of the one before; the first is this process."""
    proc = root / "proc"
    for index, (pid, name, filters) in enumerate(rows):
        parent = rows[index + 1][0] if index + 1 < len(rows) else 0
        directory = proc / str(pid)
        directory.mkdir(parents=True)
        (directory / "status").write_text(
            f"Name:\t{name}\nPid:\t{pid}\nPPid:\t{parent}\n"
            f"Seccomp:\t{2 if filters else 0}\nSeccomp_filters:\t{filters}\n"
        )
    (proc / "sys/kernel").mkdir(parents=True)
    (proc / "sys/kernel/osrelease").write_text(release)
    (proc / "self").mkdir()
    (proc / "self/cgroup").write_text(cgroup)
    return str(proc)


ME = os.getpid()


@pytest.mark.parametrize(
    ("comm", "who"),
    [
        ("bwrap", "bubblewrap"),
        ("firejail", "firejail"),
        ("snap-confine", "snap"),
        ("flatpak", "flatpak"),
        ("systemd-nspawn", "systemd-nspawn"),
        ("containerd-shim", "container engine"),
        ("unotify", "another unotify"),
    ],
)
def test_known_programs(tmp_path: Path, comm: str, who: str) -> None:
    """A sandbox is recognised by its name, cut to 15 characters, with its own advice."""
    proc = write_proc(tmp_path, (ME, "python3", 1), (70, "sh", 1), (60, comm[:15], 0), (1, "i", 0))

    found = find(proc=proc, root=str(tmp_path))

    assert who in found.description
    assert "60" in found.description
    assert (found.pid, found.filters) == (70, 1)
    assert found.hint


def test_sandbox_that_is_filtered_itself(tmp_path: Path) -> None:
    """The outermost filtered process may be the sandbox."""
    proc = write_proc(tmp_path, (ME, "sh", 1), (70, "bwrap", 1), (1, "systemd", 0))

    assert find(proc=proc, root=str(tmp_path)).description == "bubblewrap (process 70)"


def test_unknown_program(tmp_path: Path) -> None:
    """Otherwise the outermost filtered ancestor and its parent are named."""
    proc = write_proc(tmp_path, (ME, "a", 2), (70, "b", 2), (60, "c", 1), (50, "d", 0))

    found = find(proc=proc, root=str(tmp_path))

    assert "c (process 60)" in found.description
    assert "process 50, d" in found.description
    assert found.filters == 1


def test_visible_installer_is_no_container(tmp_path: Path) -> None:
    """Inside of a container the filter may still be of somebody in it."""
    (tmp_path / ".dockerenv").touch()
    proc = write_proc(tmp_path, (ME, "a", 1), (70, "b", 1), (1, "init", 0))

    assert "Docker" not in find(proc=proc, root=str(tmp_path)).description


def test_container(tmp_path: Path) -> None:
    """When all that can be seen is filtered, it is the container's engine."""
    (tmp_path / ".dockerenv").touch()
    proc = write_proc(tmp_path, (ME, "a", 1), (1, "sh", 1))

    found = find(proc=proc, root=str(tmp_path))

    assert found.description == "Docker"
    assert "SCMP_ACT_NOTIFY" in found.hint


def test_wsl(tmp_path: Path) -> None:
    """WSL is recognised by its kernel's name, with advice of its own."""
    release = "5.15.90.1-microsoft-standard-WSL2"
    proc = write_proc(tmp_path, (ME, "a", 1), (1, "init", 1), release=release)

    found = find(proc=proc, root=str(tmp_path))

    assert found.description == "WSL"
    assert "WSL" in found.hint


def test_everything_filtered_and_nothing_known(tmp_path: Path) -> None:
    """Without any mark the outermost process is named."""
    proc = write_proc(tmp_path, (ME, "a", 1), (1, "sh", 1))

    assert find(proc=proc, root=str(tmp_path)).description == "the filter of sh (process 1)"


def test_no_procfs(tmp_path: Path) -> None:
    """Without procfs there is still an answer."""
    found = find(proc=str(tmp_path / "none"), root=str(tmp_path))

    assert "cannot be seen" in found.description
    assert found.pid is None


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("run/.containerenv", "", "Podman"),
        (".dockerenv", "", "Docker"),
        ("run/host/container-manager", "systemd-nspawn\n", "systemd-nspawn"),
    ],
)
def test_container_files(tmp_path: Path, file: str, content: str, expected: str) -> None:
    """Engines leave files."""
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)

    assert container(proc=write_proc(tmp_path, (ME, "a", 0)), root=str(tmp_path)) == expected


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("0::/kubepods.slice/pod1\n", "Kubernetes"),
        ("2:cpu:/docker/abc\n", "Docker"),
        ("0::/machine.slice/libpod-abc.scope\n", "Podman"),
        ("0::/lxc.payload.web\n", "LXC"),
        ("0::/user.slice\n", None),
    ],
)
def test_container_cgroups(tmp_path: Path, cgroup: str, expected: str | None) -> None:
    """Engines name cgroups."""
    proc = write_proc(tmp_path, (ME, "a", 0), cgroup=cgroup)

    assert container(proc=proc, root=str(tmp_path)) == expected
