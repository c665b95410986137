"""The words of OCI seccomp profiles, and what they are here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from unotify.abi.arch import Arch
from unotify.bpf import CompareOp
from unotify.policy.installing import FLAGS as _FLAGS
from unotify.policy.model import Verb

__all__ = [
    "ACTIONS",
    "ARCHITECTURES",
    "CAPABILITIES",
    "FLAGS",
    "HOSTS",
    "MASKED",
    "NOT_HERE",
    "OPERATORS",
]

ACTIONS: Final[Mapping[str, Verb]] = MappingProxyType(
    {
        "SCMP_ACT_KILL": Verb.KILL_THREAD,
        "SCMP_ACT_KILL_THREAD": Verb.KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS": Verb.KILL_PROCESS,
        "SCMP_ACT_TRAP": Verb.TRAP,
        "SCMP_ACT_ERRNO": Verb.FAIL,
        "SCMP_ACT_TRACE": Verb.TRACE,
        "SCMP_ACT_ALLOW": Verb.ALLOW,
        "SCMP_ACT_LOG": Verb.LOG,
        "SCMP_ACT_NOTIFY": Verb.NOTIFY,
    }
)
"""Of two words for one action, the later is the one to write."""

MASKED: Final = "SCMP_CMP_MASKED_EQ"
"""The only operator with two numbers: ``(argument & value) == valueTwo``."""

OPERATORS: Final[Mapping[str, CompareOp]] = MappingProxyType(
    {
        "SCMP_CMP_NE": CompareOp.NE,
        "SCMP_CMP_LT": CompareOp.LT,
        "SCMP_CMP_LE": CompareOp.LE,
        "SCMP_CMP_EQ": CompareOp.EQ,
        "SCMP_CMP_GE": CompareOp.GE,
        "SCMP_CMP_GT": CompareOp.GT,
        MASKED: CompareOp.EQ,
    }
)

ARCHITECTURES: Final[Mapping[str, Arch]] = MappingProxyType(
    {
        "SCMP_ARCH_X86": Arch.I386,
        "SCMP_ARCH_X86_64": Arch.X86_64,
        "SCMP_ARCH_X32": Arch.X32,
        "SCMP_ARCH_ARM": Arch.ARM,
        "SCMP_ARCH_AARCH64": Arch.AARCH64,
        "SCMP_ARCH_MIPS": Arch.MIPS,
        "SCMP_ARCH_MIPS64": Arch.MIPS64,
        "SCMP_ARCH_MIPS64N32": Arch.MIPS64N32,
        "SCMP_ARCH_MIPSEL": Arch.MIPSEL,
        "SCMP_ARCH_MIPSEL64": Arch.MIPSEL64,
        "SCMP_ARCH_MIPSEL64N32": Arch.MIPSEL64N32,
        "SCMP_ARCH_PPC": Arch.PPC,
        "SCMP_ARCH_PPC64": Arch.PPC64,
        "SCMP_ARCH_PPC64LE": Arch.PPC64LE,
        "SCMP_ARCH_S390": Arch.S390,
        "SCMP_ARCH_S390X": Arch.S390X,
        "SCMP_ARCH_PARISC": Arch.PARISC,
        "SCMP_ARCH_RISCV64": Arch.RISCV64,
        "SCMP_ARCH_LOONGARCH64": Arch.LOONGARCH64,
        "SCMP_ARCH_M68K": Arch.M68K,
        "SCMP_ARCH_SH": Arch.SH4,
    }
)

NOT_HERE: Final = frozenset({"SCMP_ARCH_PARISC64", "SCMP_ARCH_SHEB"})
"""Architectures that the format knows and these tables do not."""

HOSTS: Final[Mapping[Arch, frozenset[str]]] = MappingProxyType(
    {
        arch: frozenset(names.split())
        for arch, names in {
            Arch.I386: "x86",
            Arch.X86_64: "amd64",
            Arch.X32: "x32",
            Arch.ARM: "arm",
            Arch.AARCH64: "arm64",
            Arch.MIPS: "mips",
            Arch.MIPS64: "mips64",
            Arch.MIPS64N32: "mips64n32",
            Arch.MIPSEL: "mipsel mipsle",
            Arch.MIPSEL64: "mipsel64",
            Arch.MIPSEL64N32: "mips3l64n32 mipsel64n32",
            Arch.PPC: "ppc",
            Arch.PPC64: "ppc64",
            Arch.PPC64LE: "ppc64le",
            Arch.S390: "s390",
            Arch.S390X: "s390x",
            Arch.PARISC: "parisc",
            Arch.RISCV64: "riscv64",
            Arch.LOONGARCH64: "loong64 loongarch64",
        }.items()
    }
)
"""What ``includes.arches`` calls the architecture of the host, in moby and in containers-common."""

FLAGS: Final = frozenset(flag.full for flag in _FLAGS.values())
"""Those of a policy are all that a profile may name."""

_CAPABILITIES: Final = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)

CAPABILITIES: Final = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())
"""All of them, by number."""
