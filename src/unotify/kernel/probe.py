"""What this kernel, and our place in it, allow: found out by trying, once."""

from __future__ import annotations

import errno
import functools
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.errors import KernelError
from unotify.kernel import ancestry
from unotify.kernel._libc import NATIVE, SYS_PIDFD_GETFD, SYS_PIDFD_OPEN, SYS_SECCOMP

__all__ = ["CAPABILITIES", "Probed", "probe"]

CAPABILITIES = (
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
)
"""Names of the capabilities by bit, as in ``linux/capability.h``."""

_CHILD = str(Path(__file__).with_name("probe_child.py"))
_PATIENCE = 10.0


@dataclass(frozen=True)
class Probed:
    """What was found.

    Attributes:
        features: What works.
        architectures: ABIs that programs here can use; on x86 tried, elsewhere
            only the native one is certain.
        install_error: Why no filter with a listener can be installed here: an
            errno's name, ``"SIGSYS"``, or ``None`` if one can.
        user_namespace: Whether an ordinary user may make one with a mount
            namespace in it.
        release: The kernel's release, for people: decisions rest on `features`.
        uid: Our user id.
        capabilities: Our effective capabilities, without ``CAP_``, lower case.
        no_new_privs: Whether we have the bit.
        filters: How many filters are on us already; ``None`` before Linux 5.9.
        actions: ``/proc/sys/kernel/seccomp/actions_avail``, the strongest first.
        ptrace_scope: Yama's setting, or ``None`` without Yama (M3).
        files: Our soft limit of open descriptors.
        container: What we seem to run in, or ``None``.
    """

    features: frozenset[Feature]
    architectures: tuple[Arch, ...]
    install_error: str | None
    user_namespace: bool
    release: str
    uid: int
    capabilities: tuple[str, ...]
    no_new_privs: bool
    filters: int | None
    actions: tuple[str, ...]
    ptrace_scope: int | None
    files: int
    container: str | None


@functools.cache
def probe() -> Probed:
    """Probe once for this process; takes a twentieth of a second.

    Raises:
        KernelError: Not even a process to try it in can be started.
    """
    tried = _try()
    known = {feature.label: feature for feature in Feature}
    status = _status()
    arches = [NATIVE]
    # A 32-bit interpreter cannot try the kernel's own ABI, which is always there.
    wide = os.uname().machine == "x86_64"
    for arch, works in (
        (Arch.X86_64, wide),
        (Arch.I386, tried["i386"]),
        (Arch.X32, tried["x32"]),
    ):
        if works and arch not in arches:
            arches.append(arch)
    filters = status.get("Seccomp_filters")
    scope = _read("/proc/sys/kernel/yama/ptrace_scope")
    return Probed(
        features=frozenset(known[name] for name, works in tried["features"].items() if works),
        architectures=tuple(arches),
        install_error=tried["install_error"],
        user_namespace=tried["user_namespace"],
        release=os.uname().release,
        uid=os.getuid(),
        capabilities=_capabilities(int(status.get("CapEff", "0"), 16)),
        no_new_privs=status.get("NoNewPrivs") == "1",
        filters=None if filters is None else int(filters),
        actions=tuple(_read("/proc/sys/kernel/seccomp/actions_avail").split()),
        ptrace_scope=int(scope) if scope else None,
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        container=ancestry.container(),
    )


def _try() -> dict[str, Any]:
    spec = {
        "seccomp": SYS_SECCOMP,
        "pidfd_open": SYS_PIDFD_OPEN,
        "pidfd_getfd": SYS_PIDFD_GETFD,
        "x86": NATIVE in (Arch.X86_64, Arch.X32, Arch.I386),
        **NATIVE.ioctls._asdict(),
    }
    python = getattr(sys, "_base_executable", None) or sys.executable
    try:
        done = subprocess.run(
            [python, "-I", "-S", _CHILD, json.dumps(spec)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        number = error.errno if isinstance(error, OSError) else errno.ETIMEDOUT
        raise KernelError(
            number or errno.EIO, "execve(2)", f"the probing process did not work: {error}"
        ) from error
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise KernelError(
            errno.EIO,
            "execve(2)",
            f"the probing process ended with {done.returncode}: {last or 'no message'}",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _capabilities(mask: int) -> tuple[str, ...]:
    names = [*CAPABILITIES, *(f"cap_{bit}" for bit in range(len(CAPABILITIES), 64))]
    return tuple(name for bit, name in enumerate(names) if mask >> bit & 1)


def _status() -> dict[str, str]:
    lines = _read("/proc/self/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
