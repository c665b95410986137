"""Who put a filter above this process? A guess in words, for EBUSY (F4, F7).

The kernel says only that some filter in the chain has an open listener. Filters
are inherited, so its installer is the outermost ancestor that is filtered, or
the process that started it; names and marks that engines leave tell the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ancestor", "container", "find"]


@dataclass(frozen=True)
class Ancestor:
    """Who probably supervises this process already.

    Attributes:
        description: Such as ``"bwrap (process 812)"``.
        hint: What to do about it.
        pid: The outermost filtered ancestor, or ``None`` if none can be seen.
        filters: How many filters that ancestor has (Linux 5.9), or ``None``.
    """

    description: str
    hint: str
    pid: int | None
    filters: int | None


# What a process is called -> who it is and what can be done there.
_PROGRAMS = {
    "bwrap": ("bubblewrap", "start unotify outside of bwrap, or bwrap under unotify"),
    "firejail": ("firejail", "start it with firejail --noprofile, or outside of firejail"),
    "snap-confine": ("snap confinement", "use a snap with classic confinement"),
    "flatpak": ("flatpak", "run unotify on the host: flatpak-spawn --host"),
    "systemd-nspawn": ("systemd-nspawn", "run unotify on the host"),
    "conmon": ("a container engine", "remove listenerPath and SCMP_ACT_NOTIFY from its profile"),
    "containerd-shim": (
        "a container engine",
        "remove listenerPath and SCMP_ACT_NOTIFY from its profile",
    ),
    "unotify": ("another unotify", "merge the two rule sets into one supervisor"),
    "lxc-start": ("LXC", "turn lxc.seccomp.notify.proxy off for this container"),
    "sandlock": ("sandlock", "start unotify outside of it"),
    "syd": ("syd", "start unotify outside of it"),
    "nsjail": ("nsjail", "start nsjail without --seccomp_unotify"),
}

_ENGINE_HINT = (
    "remove SCMP_ACT_NOTIFY from the container's seccomp profile, or run unotify on the host"
)
_GENERIC_HINT = "run unotify outside of it: the kernel allows one listener in a chain of filters"


def find(*, proc: str = "/proc", root: str = "/") -> Ancestor:
    """Look for the process that supervises this one already.

    Args:
        proc: Where procfs is.
        root: The root of the files that container engines leave.
    """
    oldest: dict[str, str] | None = None
    above: dict[str, str] | None = None
    for status in _ancestors(proc):
        if status.get("Seccomp", "0") == "0":
            above = status
            break
        oldest = status
    pid = None if oldest is None else int(oldest["Pid"])
    filters = None if oldest is None else _number(oldest.get("Seccomp_filters"))
    for suspect in (above, oldest):
        if suspect is not None and (known := _known(suspect["Name"])) is not None:
            name, hint = known
            return Ancestor(f"{name} (process {suspect['Pid']})", hint, pid, filters)
    if oldest is not None and above is not None:
        who = f"the filter of {oldest['Name']} (process {pid})"
        parent = f"process {above['Pid']}, {above['Name']}"
        return Ancestor(f"{who}, a child of {parent}", _GENERIC_HINT, pid, filters)
    # All that can be seen is filtered: it came from outside of this pid namespace,
    # or with the first process of the machine.
    engine = container(root=root, proc=proc)
    if engine is not None:
        hint = _WSL_HINT if engine == "WSL" else _ENGINE_HINT
        return Ancestor(engine, hint, pid, filters)
    if oldest is None:
        return Ancestor("an ancestor that cannot be seen from here", _GENERIC_HINT, None, None)
    return Ancestor(f"the filter of {oldest['Name']} (process {pid})", _GENERIC_HINT, pid, filters)


_WSL_HINT = (
    "WSL 2 supervises its own init by seccomp notification: update WSL, or put the target's tree "
    "outside of WSL's init, for example in a container"
)


def container(*, root: str = "/", proc: str = "/proc") -> str | None:
    """Name the container engine, or WSL, that this process runs in; ``None`` outside of any."""
    base = Path(root)
    release = _read(Path(proc, "sys/kernel/osrelease")).lower()
    cgroups = _read(Path(proc, "self/cgroup"))
    tests: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("Podman", (base / "run/.containerenv").exists),
        ("Docker", (base / ".dockerenv").exists),
        ("Kubernetes", lambda: "kubepods" in cgroups),
        ("Docker", lambda: "/docker" in cgroups),
        ("Podman", lambda: "libpod" in cgroups),
        ("LXC", lambda: "/lxc" in cgroups),
        ("systemd-nspawn", lambda: "systemd-nspawn" in _read(base / "run/host/container-manager")),
        ("WSL", lambda: "microsoft" in release),
    )
    return next((name for name, test in tests if test()), None)


def _known(comm: str) -> tuple[str, str] | None:
    # A name may be cut to 15 characters, or have a version behind it.
    return next(
        (known for name, known in _PROGRAMS.items() if comm.startswith(name[:15])),
        None,
    )


def _ancestors(proc: str) -> list[dict[str, str]]:
    # This process first. One that ends meanwhile ends the walk.
    found: list[dict[str, str]] = []
    pid = os.getpid()
    while pid > 0 and len(found) < 4096:
        lines = _read(Path(proc, str(pid), "status")).splitlines()
        status = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if "PPid" not in status or "Name" not in status:
            break
        found.append(status)
        pid = int(status["PPid"])
    return found


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
