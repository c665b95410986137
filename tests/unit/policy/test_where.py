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


def facts(**known: Any) -> Facts:
    """Facts with a call whose arguments are *known*, and the caller's own under their names."""
    made: dict[str, Any] = {
        name: known.pop(name) for name in ("uid", "comm", "resolved", "fd_kind") if name in known
    }
    return cast(Facts, SimpleNamespace(call=SimpleNamespace(**known), **made))


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
    bound = bind("path in files", ["open"], sets=sets)["open"]
    assert holds(bound, X86, [0] * 6, facts(path="/b"))


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
    ("address.prt == 1", "connect", 1, "no part prt", "did you mean port?"),
    ("address == 'x'", "connect", 12, "is not one value", ".family, .ip"),
    ("address.ip in cidr('10.0.0.0/33')", "connect", 20, "is no network", None),
    ("address.ip == 'localhost'", "connect", 15, "not an IP address", None),
    ("resolved == '/'", "rename", 1, "2 paths", "resolved(oldpath)"),
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
