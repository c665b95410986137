"""`unotify.policy.where`: what a condition means, and what is wrong with one."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.bpf import evaluate
from unotify.calls.sockaddr import Inet6Address, InetAddress, UnixAddress
from unotify.calls.structs import OpenHow
from unotify.errors import NotExpressible, PolicyError, UnknownName
from unotify.policy.conditions import Condition, Facts, Need, RegisterTest, holds, judge, needs
from unotify.policy.loader import load
from unotify.policy.model import Place
from unotify.policy.where import bind

X86 = Arch.X86_64


def registers(where: str, call: str, *args: int, arch: Arch = X86) -> bool:
    """What registers alone say of *where*."""
    six = [*args, *[0] * (6 - len(args))]

    def ask(test: RegisterTest) -> bool:
        return evaluate(test.lower(arch), six, bits=arch.bits)

    answer = judge(bind(where, [call], architectures=[arch])[call], ask)
    assert answer is not None
    return answer


def facts(arch: Arch = X86, **known: Any) -> Facts:
    """Facts with a call whose arguments are *known*, and the caller's own under their names."""
    made: dict[str, Any] = {
        name: known.pop(name) for name in ("uid", "comm", "resolved", "fd_kind") if name in known
    }
    return cast(Facts, SimpleNamespace(call=SimpleNamespace(arch=arch, **known), **made))


def refused(where: str, call: str, *archs: Arch) -> PolicyError:
    """The error that *where* is."""
    with pytest.raises(PolicyError) as caught:
        bind(where, [call], architectures=archs or [X86])
    return caught.value


def looked(where: str, call: str, seen: Facts) -> bool:
    """What the supervisor says of *where*."""
    return holds(bind(where, [call])[call], X86, [0] * 6, seen)


@pytest.mark.parametrize(
    ("where", "call", "args", "expected"),
    [
        ("flags & O_CREAT", "openat", (0, 0, 0o100), True),
        ("flags & O_CREAT", "openat", (0, 0, 0o1), False),
        ("flags & O_ACCMODE != O_RDONLY", "openat", (0, 0, 0o2), True),
        ("not flags & (O_CREAT | O_TRUNC)", "openat", (0, 0, 0o1), True),
        ("family in (AF_INET, AF_INET6)", "socket", (10,), True),
        ("family in (AF_INET, AF_INET6)", "socket", (1,), False),
        ("family not in (AF_UNIX, AF_NETLINK)", "socket", (1,), False),
        ("dirfd == AT_FDCWD", "openat", (0xFFFFFF9C,), True),
        ("dirfd < 0", "openat", (0xFFFFFFFF,), True),
        ("2 <= fd < 5", "close", (4,), True),
        ("2 <= fd < 5", "close", (5,), False),
        ("size > 1 << 30", "mmap", (0, (1 << 30) + 1), True),
        ("mode & S_IFMT in (S_IFCHR, S_IFBLK)", "mknod", (0, 0o020644), True),
        ("mode & S_IFMT in (S_IFCHR, S_IFBLK)", "mknod", (0, 0o010644), False),
        ("major(dev) == 1 and minor(dev) in (3, 5)", "mknod", (0, 0, 0x103), True),
        ("major(dev) == 1 and minor(dev) in (3, 5)", "mknod", (0, 0, 0x104), False),
        ("minor(dev) == 300", "mknod", (0, 0, 0x10_0000 | 0x12C - 0x100 | 0x800), True),
        ("3 == fd or fd == 7", "close", (7,), True),
        ("~flags & 0 == 0 or fd == 1", "close", (1,), True),
    ][:-1],
)
def test_registers(where: str, call: str, args: tuple[int, ...], expected: bool) -> None:
    """B3: tests look at the bits that the kernel looks at, with the sign that it gives them."""
    dirty = tuple(arg | 0xDEAD << 48 if call in ("socket", "close") else arg for arg in args)
    assert registers(where, call, *dirty) is expected


def test_halves_on_32_bits() -> None:
    """B6: a 64-bit argument is tested in the two registers that i386 passes it in."""
    where = "length > 1 << 33"
    for length in (0, 1 << 33, (1 << 33) + 1, 1 << 40, (1 << 63) - 1):
        wide = (
            registers(where, "ftruncate64", 3, length)
            if tables.number("ftruncate64", X86)
            else length > 1 << 33
        )
        low, high = length & 0xFFFFFFFF, length >> 32
        assert registers(where, "ftruncate64", 3, low, high, arch=Arch.I386) is wide


def test_flags_are_translated() -> None:
    """O_DIRECTORY is another bit on ARM."""
    assert registers("flags & O_DIRECTORY", "openat", 0, 0, 0o40000, arch=Arch.ARM)
    assert not registers("flags & O_DIRECTORY", "openat", 0, 0, 0o200000, arch=Arch.ARM)


@pytest.mark.parametrize(
    ("where", "call", "args", "arch"),
    [
        ("flags & O_CREAT", "open", (0, 0x100), Arch.MIPS64),
        ("flags & (O_CREAT | 0x800) == O_NONBLOCK", "open", (0, 0x80), Arch.MIPS64),
        ("flags & ~O_CREAT == 0", "open", (0, 0x100), Arch.MIPS64),
        ("flags & ~0x40 == 0", "open", (0, 0x100), Arch.MIPS64),
        ("flags & O_TMPFILE == O_TMPFILE", "openat", (0, 0, 0x404000), Arch.AARCH64),
        ("flags & MAP_NORESERVE", "mmap", (0, 0, 0, 0x40), Arch.PPC64),
        ("flags & MAP_ANONYMOUS and size > 0", "mmap", (0, 1, 0, 0x800), Arch.MIPS64),
        ("sig == SIGUSR1", "kill", (0, 16), Arch.MIPS64),
        ("sig in (SIGUSR1, 12)", "kill", (0, 17), Arch.MIPS64),
        ("type & SOCK_TYPE_MASK == SOCK_STREAM", "socket", (0, 2), Arch.MIPS64),
        ("type & 0xf == 1", "socket", (0, 2), Arch.MIPS64),
        ("type & O_NONBLOCK", "socket", (0, 0x40000000), Arch.PARISC),
        ("type & SOCK_NONBLOCK", "socket", (0, 0x40000000), Arch.PARISC),
        ("flags & O_CLOEXEC", "epoll_create1", (0x200000,), Arch.PARISC),
        ("arg & O_NONBLOCK", "fcntl", (0, 0, 0x80), Arch.MIPS64),
        ("flags & CSIGNAL == SIGCHLD", "clone", (18,), Arch.MIPS64),
        ("cmd == FS_IOC_GETFLAGS", "ioctl", (0, 0x80046601), Arch.I386),
        ("cmd == 0x80086601", "ioctl", (0, 0x80086601), Arch.I386),
        ("flags & O_ACCMODE > O_RDONLY", "open", (0, 1), Arch.MIPS64),
    ],
)
def test_names_stand_for_what_the_architecture_has(
    where: str, call: str, args: tuple[int, ...], arch: Arch
) -> None:
    """A constant is the number that the kernel's headers give it there; plain flags follow."""
    assert registers(where, call, *args, arch=arch)
    assert not registers(where, call, arch=arch) or where.endswith("== 0")


@pytest.mark.parametrize(
    ("where", "call", "archs", "message", "hint"),
    [
        ("flags & MAP_32BIT", "mmap", (X86, Arch.PPC64), "ppc64 has no MAP_32BIT", "mmap@x86_64"),
        ("flags & 0x40", "mmap", (Arch.PPC64,), "0x40, a number of x86-64, has no", "name the"),
        ("sig == SIGSTKFLT", "kill", (Arch.MIPS64,), "mips64 has no SIGSTKFLT", None),
        ("sig in (9, 16)", "kill", (Arch.MIPS64,), "0x10, a number of x86-64", None),
        ("sig > 9", "kill", (Arch.MIPS64,), "in another order", "== or in"),
        ("flags > O_CREAT", "open", (Arch.AARCH64,), "in another order", "== or in"),
        ("type & 1", "socket", (Arch.MIPS64,), "0x1, a number of x86-64", None),
        ("cmd == TIOCSTI", "ioctl", (Arch.PPC64,), "not known here which number TIOCSTI", None),
        ("request == PTRACE_GETREGS", "ptrace", (Arch.AARCH64,), "no PTRACE_GETREGS", None),
        ("how.flags & 8", "openat2", (Arch.MIPS64,), "0x8, a number of x86-64", None),
        ("how.flags > O_CREAT", "openat2", (Arch.MIPS64,), "in another order", None),
    ],
)
def test_what_an_architecture_does_not_have(
    where: str, call: str, archs: tuple[Arch, ...], message: str, hint: str | None
) -> None:
    """What has no number on an architecture of the policy is refused with its name."""
    error = refused(where, call, *archs)
    assert isinstance(error, NotExpressible)
    assert message in str(error)
    assert (hint or "") in (error.hint or "")
    assert error.column is not None


def test_structs_have_the_numbers_of_their_architecture() -> None:
    """In memory as well, a constant is what the caller's architecture has by that name."""
    for arch, bit in ((X86, 0x40), (Arch.MIPS64, 0x100)):
        seen = facts(arch, how=OpenHow(bit, 0, 0))
        assert looked("how.flags & O_CREAT", "openat2", seen)
        assert looked("how.flags == O_CREAT", "openat2", seen)
        assert looked("how.flags in (O_CREAT, O_EXCL)", "openat2", seen)
        assert not looked("how.flags & (O_EXCL | O_NOCTTY)", "openat2", seen)


@pytest.mark.parametrize(
    ("where", "call", "column", "message", "hint"),
    [
        ("flags & MS_BIND", "openat", 9, "MS_BIND does not belong to flags", "it takes O_RDONLY"),
        ("flags & S_CREAT", "openat", 9, "no constant is called that", "did you mean O_CREAT?"),
        ("flags & MNT_BIND", "mount", 9, "no constant is called", "did you mean MS_BIND?"),
        ("flags & EPOLL_CLOEXEC", "openat", 9, "does not belong", "did you mean O_CLOEXEC?"),
        ("flags & (O_CREAT | MS_BIND)", "openat", 20, "MS_BIND does not belong", None),
        ("flags == MS_BIND", "openat", 10, "MS_BIND does not belong to flags", None),
        ("family in (AF_UNIX, O_CREAT)", "socket", 21, "O_CREAT does not belong to family", None),
        ("address.family == SOCK_STREAM", "connect", 19, "belong to address.family", None),
        ("how.flags & MS_BIND", "openat2", 13, "does not belong to how.flags", None),
        ("mode & O_CREAT", "openat", 8, "O_CREAT does not belong to mode", None),
        ("size == O_CREAT", "mmap", 9, "does not belong to size", "it takes numbers"),
        ("uid == AF_UNIX", "close", 8, "AF_UNIX does not belong to uid", "it takes numbers"),
        ("fd == O_CREAT", "close", 7, "does not belong to fd", "AT_FDCWD"),
        ("flags & O_RDONLY", "openat", 9, "O_RDONLY is one of", "flags & O_ACCMODE == O_RDONLY"),
        ("flags & O_WRONLY", "openat", 9, "O_WRONLY is one of", "flags & O_ACCMODE == O_WRONLY"),
        ("flags & O_RDWR == O_RDWR", "openat", 9, "of the bits O_ACCMODE", "O_ACCMODE == O_RDWR"),
        ("flags & (O_WRONLY | O_CREAT)", "openat", 10, "O_WRONLY is one of several", None),
        ("how.flags & O_WRONLY", "openat2", 13, "O_WRONLY is one of", "how.flags & O_ACCMODE =="),
        ("mode & S_IFCHR", "mknod", 8, "S_IFCHR is one of", "mode & S_IFMT == S_IFCHR"),
        ("type & SOCK_STREAM", "socket", 8, "SOCK_STREAM is one", "type & SOCK_TYPE_MASK =="),
        ("op & FUTEX_WAKE", "futex", 6, "FUTEX_WAKE is one", "op & FUTEX_CMD_MASK == FUTEX_WAKE"),
        ("flags & SIGCHLD", "clone", 9, "SIGCHLD is one of", "flags & CSIGNAL == SIGCHLD"),
        ("mode & MPOL_BIND", "mbind", 8, "MPOL_BIND is one of", "mode & 0xff == MPOL_BIND"),
        ("arg & O_WRONLY", "fcntl", 7, "O_WRONLY is one of", "arg & O_ACCMODE == O_WRONLY"),
        ("family & AF_INET", "socket", 10, "one of several values of family", "family == AF_INET"),
        ("prot & PROT_NONE", "mmap", 8, "PROT_NONE has no bits to test", "prot == PROT_NONE"),
        ("flags & 0", "openat", 9, "a mask of 0 looks at no bit", "flags == 0"),
    ],
)
def test_constants_of_the_wrong_kind(
    where: str, call: str, column: int, message: str, hint: str | None
) -> None:
    """A constant of another argument, or a value asked as if it were a bit, is told as such."""
    error = refused(where, call)
    assert message in str(error)
    assert (hint or "") in (error.hint or "")
    assert error.column == column


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("flags & (O_WRONLY | O_RDWR)", "openat"),
        ("flags & O_ACCMODE", "openat"),
        ("flags & ~(O_WRONLY | O_CREAT) == 0", "openat"),
        ("flags & 1", "openat"),
        ("mode & (S_ISUID | S_ISGID | 0o22)", "openat"),
        ("mode & S_IFMT == S_IFCHR", "mknod"),
        ("mode & S_IFMT", "mknod"),
        ("type & (SOCK_NONBLOCK | SOCK_CLOEXEC)", "socket"),
        ("type & O_CLOEXEC", "socket"),
        ("type == SOCK_STREAM | SOCK_CLOEXEC", "socket"),
        ("flags & CLONE_NEWTIME", "unshare"),
        ("nstype in (CLONE_NEWTIME, CLONE_NEWNET)", "setns"),
        ("shmflg & (IPC_CREAT | S_IRUSR)", "shmget"),
        ("flags & (AT_EMPTY_PATH | AT_RECURSIVE)", "open_tree"),
        ("flags & AT_SYMLINK_NOFOLLOW", "unlinkat"),
        ("flags & MSG_FASTOPEN", "sendto"),
        ("arg & O_APPEND", "fcntl"),
        ("cmd == TIOCSTI or cmd == FIONBIO or cmd == O_CREAT", "ioctl"),
        ("protocol == IPPROTO_TCP", "socket"),
        ("prot == PROT_NONE or prot & PROT_EXEC", "mmap"),
        ("persona & PER_MASK == 8", "personality"),
        ("persona & PER_MASK == PER_LINUX32", "personality"),
        ("op & (FUTEX_CMD_MASK | FUTEX_PRIVATE_FLAG) == FUTEX_WAKE", "futex"),
        ("args.exit_signal == SIGCHLD and args.flags & CLONE_NEWUSER", "clone3"),
        ("attr.propagation & MS_SHARED or attr.attr_set & MOUNT_ATTR_RDONLY", "mount_setattr"),
        ("operation == SECCOMP_SET_MODE_FILTER", "seccomp"),
        ("flags & SECCOMP_FILTER_FLAG_NEW_LISTENER", "seccomp"),
        ("how.mode & S_ISUID and how.resolve & RESOLVE_BENEATH", "openat2"),
        ("fd == AT_FDCWD", "fchmod"),
    ],
)
def test_constants_of_the_right_kind(where: str, call: str) -> None:
    """Names of a class and its family, and any name where nobody knows the class, are taken."""
    assert bind(where, [call], architectures=[X86])


@pytest.mark.parametrize(
    ("where", "address", "expected"),
    [
        ('address.ip in cidr("10.0.0.0/8")', InetAddress(ip_address("10.1.2.3"), 1), True),
        ('address.ip in cidr("10.0.0.0/8")', InetAddress(ip_address("11.1.2.3"), 1), False),
        ('address.ip in cidr("10.0.0.0/8")', Inet6Address(ip_address("::ffff:10.1.2.3"), 1), True),
        ('address.ip == "::1"', Inet6Address(ip_address("::1"), 1), True),
        ("address.port == 5432", InetAddress(ip_address("1.1.1.1"), 5432), True),
        ("address.port != 5432", UnixAddress(b"/x"), False),
        ("address.family == AF_UNIX", UnixAddress(b"/x"), True),
        ('address.path == "/run/x"', UnixAddress(b"/run/x"), True),
        ('address.abstract == "bus"', UnixAddress(None, b"bus"), True),
        ("address.port in (80, 443)", InetAddress(ip_address("1.1.1.1"), 443), True),
        ("address.port not in (80, 443)", InetAddress(ip_address("1.1.1.1"), 80), False),
        ("address.port not in (80, 443)", InetAddress(ip_address("1.1.1.1"), 81), True),
        ("address.port not in (80, 443)", UnixAddress(b"/x"), False),
        ("not address.port in (80, 443)", UnixAddress(b"/x"), True),
        ("not address.port == 80", UnixAddress(b"/x"), True),
        ("not address.port != 80", UnixAddress(b"/x"), True),
        ('address.ip not in cidr("10.0.0.0/8")', InetAddress(ip_address("11.1.2.3"), 1), True),
        ('address.ip not in cidr("10.0.0.0/8")', UnixAddress(b"/x"), False),
        ('address.path not in ("/a", "/b")', InetAddress(ip_address("1.1.1.1"), 1), False),
    ],
)
def test_addresses(where: str, address: Any, expected: bool) -> None:
    """What an address of this family does not have makes a comparison false, `not in` as well."""
    assert looked(where, "connect", facts(address=address)) is expected


@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        ('path == "/etc/passwd"', "/etc/passwd", True),
        ('path in ("/a", "/b")', "/c", False),
        ('under(path, "/scratch")', "/scratch/a", True),
        ('under(path, "/scratch")', "/scratchy/a", False),
        ('under(path, "/scratch")', "/scratch/../etc", False),
        ('under(path, "/")', "/anything", True),
        # Linux knows no other root behind two slashes, which POSIX would let it have.
        ('under(path, "/scratch")', "//scratch/a", True),
        ('under(path, "/scratch")', "/.//scratch/./a", True),
        ('under(path, "//scratch")', "/scratch/a", True),
        ('under(path, "/")', "relative", False),
        ('under(path, ("/scratch", "/tmp"))', "/tmp/a", True),
        ('under(path, ("/scratch", "/tmp"))', "/etc/a", False),
        ('glob(path, ("/a/*", "/b/*"))', "/b/c", True),
        ('glob(path, ("/a/*", "/b/*"))', "/c/c", False),
        ('glob(path, "/etc/*.conf")', "/etc/a.conf", True),
        ('glob(path, "/etc/*.conf")', "/etc/d/a.conf", False),
        ('glob(path, "/users/**/id_*")', "/users/a/.ssh/id_rsa", True),
        ('glob(path, "/**/.ssh/*")', "/users/a/.ssh/id_rsa", True),
        ('glob(path, "/[!a]?")', "/bc", True),
        ('matches(path, "/tmp/[a-z]+")', "/tmp/abc", True),
        ('matches(path, "/tmp/[a-z]+")', "/tmp/abc1", False),
        ('basename(path) in (".netrc", "x")', "/users/u/.netrc", True),
        ("len(path) > 3", "/etc", True),
    ],
)
def test_paths(where: str, path: str, expected: bool) -> None:
    """Paths are taken as given; nothing is below a directory by way of ``..``."""
    assert looked(where, "open", facts(path=path)) is expected


def test_structs_lists_and_callers() -> None:
    """Fields of structs, elements of argv and the caller can be asked for."""
    assert looked("how.flags & O_CREAT", "openat2", facts(how=OpenHow(0o100, 0, 0)))
    argv = facts(argv=(b"git", b"push"))
    assert looked('argv[0] == "git" and "push" in argv and len(argv) == 2', "execve", argv)
    assert not looked('argv[5] == "x"', "execve", argv)
    assert looked('uid == 1000 and comm == "sh"', "getppid", facts(uid=1000, comm="sh"))
    seen = facts(fd=3, fd_kind=lambda fd: "socket" if fd == 3 else "file")
    assert looked('fd_kind(fd) == "socket"', "read", seen)
    assert looked('resolved == "/x"', "open", facts(resolved=lambda name: f"/{'x' * len('a')}"))


@pytest.mark.parametrize("call", ["connect", "bind", "sendto"])
def test_what_the_path_of_a_unix_socket_names(call: str) -> None:
    """It is asked of the address, if that has a path; of others, and of none, nothing is true."""
    asked = []

    def resolved(argument: str) -> str:
        asked.append(argument)
        return "/run/closed/socket"

    where = 'under(resolved(address.path), "/run/closed")'
    unix = facts(address=UnixAddress(b"../link"), resolved=resolved)
    assert looked(where, call, unix)
    assert not looked('resolved(address.path) == "../link"', call, unix)
    assert asked == ["address", "address"]
    for other in (UnixAddress(None, b"x"), InetAddress(ip_address("10.0.0.1"), 1), None):
        seen = facts(address=other, resolved=resolved)
        assert not looked(where, call, seen)
        assert not looked('resolved(address.path) != "/x"', call, seen)
    assert len(asked) == 2


def test_null_matches_nothing() -> None:
    """A NULL path is neither equal to anything nor unequal."""
    assert not looked('source == "x"', "mount", facts(source=None))
    assert not looked('source != "x"', "mount", facts(source=None))
    assert not looked('source not in ("x", "y")', "mount", facts(source=None))
    assert not looked('"x" in argv', "execve", facts(argv=None))
    assert not looked('"x" not in argv', "execve", facts(argv=None))
    assert looked('"x" not in argv', "execve", facts(argv=()))
    assert looked('not under(source, "/x")', "mount", facts(source=None))


def needed(where: str, call: str) -> frozenset[Need]:
    """What *where* looks at."""
    return needs(bind(where, [call])[call])


def test_what_is_looked_at() -> None:
    """What only registers decide says so; descriptors count as memory, since threads swap them."""
    assert needed("flags & O_CREAT", "openat") == {Need.REGISTERS}
    assert needed("fd_kind(fd) == 'pipe' and fd > 2", "read") == {Need.REGISTERS, Need.MEMORY}
    assert needed("uid == 0", "getppid") == {Need.CALLER}
    assert needed("nth(3) and probability(0.5)", "getppid") == {Need.STATE}


def test_counters() -> None:
    """``nth`` and ``every`` count calls by themselves, each where it stands."""
    counts: dict[str, int] = {}

    def count(key: str, scope: str) -> int:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]

    seen = cast(Facts, SimpleNamespace(count=count))

    def three(condition: Condition) -> list[bool]:
        return [holds(condition, X86, [0] * 6, seen) for _ in range(4)]

    assert three(bind("nth(3)", ["getppid"])["getppid"]) == [False, False, True, False]
    assert three(bind("every(2)", ["getppid"])["getppid"]) == [False, True, False, True]
    assert len(counts) == 2


def test_a_counter_is_one_for_all_calls_of_a_rule() -> None:
    """What is written once counts once, whichever of the rule's calls is made, and on any ABI."""
    text = """
    version = 1
    default = "allow"
    architectures = ["x86_64", "aarch64"]

    [[rule]]
    calls = ["mkdir", "mkdirat", "open@x86_64"]
    where = "every(2) or nth(3)"
    do = { fail = "EIO" }
    """
    keys: list[str] = []

    def count(key: str, scope: str) -> int:
        keys.append(key)
        return 1

    seen = cast(Facts, SimpleNamespace(count=count))
    (rule,) = load(text).rules
    for call in ("mkdir", "mkdirat", "open"):
        assert not holds(rule.condition(call), X86, [0] * 6, seen)
    assert len(keys) == 6
    assert len(set(keys)) == 2


def test_counters_of_two_readings_are_two() -> None:
    """The same text that is read twice, for two policies, counts apart."""
    keys: list[str] = []

    def count(key: str, scope: str) -> int:
        keys.append(key)
        return 1

    seen = cast(Facts, SimpleNamespace(count=count))
    for _ in range(2):
        holds(bind("nth(3)", ["close"])["close"], X86, [0] * 6, seen)
    assert len(set(keys)) == 2


def test_sets() -> None:
    """A set of the policy has a name; networks and single values may be mixed in it."""
    sets = {"lan": frozenset({"10.0.0.0/8", "127.0.0.1"}), "files": frozenset({"/a", "/b"})}
    bound = bind("address.ip in lan", ["connect"], sets=sets)["connect"]
    for ip, expected in (("10.9.9.9", True), ("127.0.0.1", True), ("127.0.0.2", False)):
        seen = facts(address=InetAddress(ip_address(ip), 1))
        assert holds(bound, X86, [0] * 6, seen) is expected
    for where, path, expected in (
        ("path in files", "/b", True),
        ("path in files", "/b/c", False),
        ("under(path, files)", "/b/c", True),
        ("under(path, files)", "/c/b", False),
        ("glob(path, patterns)", "/b/c", True),
        ("glob(path, patterns)", "/b/c/d", False),
    ):
        patterns = {**sets, "patterns": frozenset({"/a/*", "/b/*"})}
        bound = bind(where, ["open"], sets=patterns)["open"]
        assert holds(bound, X86, [0] * 6, facts(path=path)) is expected


def test_sets_that_have_no_paths() -> None:
    """A set of numbers or of networks is no place for a path to be below."""
    sets = {"ports": frozenset({80}), "lan": frozenset({"10.0.0.0/8"})}
    for name, message in (("ports", "has numbers"), ("lan", "does not begin with /")):
        with pytest.raises(PolicyError, match=message):
            bind(f"under(path, {name})", ["open"], sets=sets)


BROKEN = [
    ("flag & O_CREAT", "openat", 1, "no argument flag", "did you mean flags?"),
    ("flags & O_CREATT", "openat", 9, "no constant is called that", "did you mean O_CREAT?"),
    ("flags == 'x'", "openat", 10, "flags is a number", None),
    ("path == 3", "openat", 9, "path is text", None),
    ("dirfd == 1 << 40", "openat", 10, "does not fit into dirfd", None),
    ("flags & 4 == 3", "openat", 14, "never equal", None),
    ("flags & 0", "openat", 9, "looks at no bit", None),
    ("flags &", "openat", None, "not an expression", "and, or, not"),
    ("unde(path, '/x')", "openat", 1, "no function is called unde", "did you mean under?"),
    ("under(path, 'x')", "openat", 13, "does not begin with /", None),
    ("under(path)", "openat", 1, "this is written", None),
    ("under(path, work)", "openat", 13, "no set is called work", "write one in [sets]"),
    ("under(path, flags)", "openat", 13, "flags is not text", None),
    ("under(path, ())", "openat", 13, "empty set", None),
    ("glob(path, ('/a', 3))", "openat", 19, "is not text", None),
    ("address.prt == 1", "connect", 1, "no part prt", "did you mean port?"),
    ("address == 'x'", "connect", 12, "is not one value", ".family, .ip"),
    ("address.ip in cidr('10.0.0.0/33')", "connect", 20, "is no network", None),
    ("address.ip == 'localhost'", "connect", 15, "not an IP address", None),
    ("resolved == '/'", "rename", 1, "2 paths", "resolved(oldpath)"),
    ("resolved == '/'", "connect", 1, "connect has no paths", "say which: resolved(address.path)"),
    ("resolved(address) == '/'", "bind", 1, "address is no path of bind", "address.path"),
    ("resolved(fd.path) == '/'", "bind", 1, "fd.path is no path of bind", "address.path"),
    ("resolved(address.path) == '/'", "open", 1, "address.path is no path of open", "path"),
    ("resolved(address.ip) == '/'", "bind", 10, "or address.path of a unix socket", None),
    ("fd is 3", "close", 1, "`is` compares", "use == or !="),
    ("fd", "close", None, None, None),
    ("path", "open", 1, "not a condition", "compare it"),
    ("1 == 1", "close", 1, "both sides are constants", None),
    ("flags == dirfd", "openat", 10, "two arguments", None),
    ("path < '/x'", "open", 1, "no order", None),
    ("fd in names", "close", 7, "no set is called names", None),
    ("fd in ()", "close", 7, "empty set", None),
    ("matches(path, '(a+)+')", "open", 15, "for ever", "glob()"),
    ("nth(0)", "close", 5, "no count", None),
    ("nth(2, per='moon')", "close", 12, "per= is one of", None),
    ("probability(2)", "close", 13, "no probability", None),
    ("fd + 1 == 2", "close", 1, "no constant number", None),
    ("module in ('a', 'b')", "finit_module", 1, "in its image", "fd_path(fd)"),
    ("fd == 1 if fd else 2", "close", 1, "nothing that a condition can ask", None),
    ("__import__('os')", "close", 1, "no function is called", None),
    ("(lambda: 1)()", "close", 1, "nothing that a condition can ask", None),
    ("", "close", 1, "empty", "leave `where` out"),
    ("not " * 100 + "fd", "close", 1, "too large", "several rules"),
    ("fd == 1 or " * 2000 + "fd", "close", 1, "characters", None),
]


@pytest.mark.parametrize(("where", "call", "column", "message", "hint"), BROKEN)
def test_broken(
    where: str, call: str, column: int | None, message: str | None, hint: str | None
) -> None:
    """What is wrong is told where it stands, with what was probably meant."""
    if message is None:
        assert bind(where, [call])
        return
    with pytest.raises(PolicyError) as caught:
        bind(where, [call])
    assert message in str(caught.value)
    if column is not None:
        assert caught.value.column == column
    if hint is not None:
        assert hint in (caught.value.hint or "")


def test_places_count_lines() -> None:
    """In a text of several lines the error's line and column are those of the file."""
    with pytest.raises(UnknownName) as caught:
        bind("fd == 1 or\n  nofd == 2", ["close"], place=Place("p.toml", 10, 5))
    assert (caught.value.source, caught.value.line, caught.value.column) == ("p.toml", 11, 3)


def test_an_architecture_that_cannot_ask() -> None:
    """What an ABI passes in no register is refused for it, with the cure."""
    with pytest.raises(NotExpressible, match="does not exist on i386"):
        bind("offset == 1", ["mmap"], architectures=[Arch.I386])
