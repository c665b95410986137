from __future__ import annotations

import errno
import struct
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.unit.calls.fake_memory import FakeCaller, make_call
from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.abi.constants import MountFlags, OpenFlags, SeekWhence
from unotify.calls import InetAddress, OpenAt, TargetPath, call_class, class_for, structs
from unotify.calls.arguments import Argument
from unotify.calls.kinds import kind_of
from unotify.calls.nullable import NULLABLE
from unotify.calls.pointed import MemoryArgument
from unotify.errors import BadAddress, NotExpressible, PathTooLong, Refused, TargetError

X86_64, I386, ARM64, S390X = Arch.X86_64, Arch.I386, Arch.AARCH64, Arch.S390X
PATH, OTHER = 0x1000, 0x9000
UNMAPPED = 0xDEAD0000


def test_at_fdcwd_is_negative_however_it_arrives() -> None:
    """B3: AT_FDCWD is -100 whether the caller extended its sign or not."""
    for raw in (0xFFFFFF9C, -100, 0x12345678FFFFFF9C):
        assert make_call("openat", raw).dirfd == -100
        assert make_call("openat", raw, arch=I386).dirfd == -100


def test_32_bit_abis_use_the_low_half() -> None:
    """B3: i386 shows dirty upper halves that its kernel never looks at."""
    dirty = 0x1FFFFFFFF
    assert make_call("mount", 0, 0, 0, dirty, arch=I386).register("flags") == 0xFFFFFFFF
    assert make_call("mount", 0, 0, 0, dirty).register("flags") == dirty
    assert make_call("lseek", 3, 0xFFFFFFFFF, arch=I386).offset == -1
    assert make_call("lseek", 3, 0xFFFFFFFFF).offset == 0xFFFFFFFFF


def test_pointers_of_32_bit_abis_are_cut() -> None:
    """B3: a path is read at the low half of the register there."""
    call = make_call("open", (5 << 32) | PATH, arch=I386, memory={PATH: b"/x\0"})
    assert call.path == TargetPath("/x")


def test_widths_and_signs() -> None:
    """An argument is as wide and as signed as the kernel takes it."""
    assert make_call("chmod", 0, 0x10000 | 0o4755).mode == 0o4755
    assert make_call("kill", 0xFFFFFFFF, 9).pid == -1
    assert make_call("lseek", 3, -1).offset == -1
    assert make_call("mknodat", 0, 0, 0, -1).dev == 0xFFFFFFFF
    assert make_call("pread64", 3, 0, 0, -1).offset == -1
    assert make_call("write", 3, 0, -1).count == (1 << 64) - 1


def test_flags_are_flags() -> None:
    """Flag arguments decode to their IntFlag, unknown bits included."""
    call = make_call("mount", 0, 0, 0, 4096 | 1 << 60)
    assert isinstance(call.flags, MountFlags)
    assert MountFlags.MS_BIND in call.flags
    assert int(call.flags) == 4096 | 1 << 60


@pytest.mark.parametrize("raw", [-1, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x80000040])
def test_signed_flags_lose_no_bit(raw: int) -> None:
    """The kernel calls the flags of openat an int; all 32 bits are there all the same."""
    flags = make_call("openat", 0, 0, raw).flags
    assert int(flags) == raw & 0xFFFFFFFF


def test_flags_are_translated() -> None:
    """O_DIRECTORY has another bit on aarch64 and is the same flag to handlers."""
    assert make_call("openat", 0, 0, 0o200000).flags == OpenFlags.O_DIRECTORY
    assert make_call("openat", 0, 0, 0o40000, arch=ARM64).flags == OpenFlags.O_DIRECTORY


def test_choices_are_members_or_numbers() -> None:
    """A command is a member of its class; one that nobody knows stays a number."""
    assert make_call("lseek", 3, 0, 2).whence is SeekWhence.SEEK_END
    assert make_call("lseek", 3, 0, 77).whence == 77


def test_paths_strings_and_vectors() -> None:
    """Pointers decode to what they point to."""
    memory = {
        PATH: b"/bin/sh\0",
        0x2000: struct.pack("<QQQ", 0x3000, 0x3004, 0),
        0x3000: b"one\0two\xff\0",
    }
    call = make_call("execve", PATH, 0x2000, 0, memory=memory)
    assert call.path == TargetPath("/bin/sh")
    assert call.argv == (b"one", b"two\xff")
    assert call.envp is None
    made = make_call("memfd_create", 0x3004, memory={0x3004: b"two\0"})
    assert (made.name, made.call_name) == ("two", "memfd_create")


def test_strings_keep_odd_bytes() -> None:
    """A string that is no UTF-8 has surrogates, and can be turned back."""
    name = make_call("delete_module", PATH, memory={PATH: b"a\xff\0"}).name
    assert name.encode("utf-8", "surrogateescape") == b"a\xff"


@pytest.mark.parametrize(("arch", "form"), [(X86_64, "<QQ"), (I386, "<II"), (S390X, ">QQ")])
def test_vectors_have_pointers_of_the_abi(arch: Arch, form: str) -> None:
    """Argv is an array of 4-byte or 8-byte pointers in the target's order."""
    memory = {0x2000: struct.pack(form, 0x3000, 0), 0x3000: b"one\0"}
    assert make_call("execve", 0, 0x2000, arch=arch, memory=memory).argv == (b"one",)


def test_endless_vectors_are_refused() -> None:
    """An array without a NULL, or with megabytes of strings, is E2BIG as in the kernel."""
    big = {0x2000: struct.pack("<Q", 0x100000) * 40, 0x100000: b"a" * 130000 + b"\0"}
    with pytest.raises(Refused) as caught:
        make_call("execve", 0, 0x2000, memory=big).argv  # noqa: B018 - reads
    assert caught.value.errno == errno.E2BIG


def test_buffers_are_as_long_as_their_length_says() -> None:
    """A buffer has the bytes that its length argument counts, at most 1 MiB."""
    memory = {0x2000: b"hello, world"}
    assert make_call("write", 1, 0x2000, 5, memory=memory).buf == b"hello"
    with pytest.raises(BadAddress):
        make_call("write", 1, 0x2000, 13, memory=memory).buf  # noqa: B018
    with pytest.raises(Refused) as caught:
        make_call("write", 1, 0x2000, 2 << 20, memory=memory).buf  # noqa: B018
    assert caught.value.errno == errno.E2BIG


def test_nothing_is_read_for_nothing() -> None:
    """Zero bytes are no bytes wherever they are, NULL included, as to the kernel."""
    for address in (0, UNMAPPED):
        call = make_call("write", 1, address, 0)
        assert call.buf == b""
        assert make_call("writev", 1, address, 0).iov == ()
        assert call.caller.reads == []


def test_sockaddrs_are_as_long_as_their_length_says() -> None:
    """The length decides what the kernel sees; a silly one is EINVAL."""
    raw = struct.pack("<H", 2) + struct.pack(">H", 53) + bytes([9, 9, 9, 9]) + bytes(8)
    call = make_call("connect", 3, 0x2000, 16, memory={0x2000: raw})
    assert call.address == InetAddress(IPv4Address("9.9.9.9"), 53)
    for length in (15, 1, 0, -1, 129):
        with pytest.raises(Refused) as caught:
            make_call("connect", 3, 0x2000, length, memory={0x2000: raw * 9}).address  # noqa: B018
        assert caught.value.errno == errno.EINVAL


def test_structs_have_the_layout_of_the_abi() -> None:
    """The same call has another struct on i386."""
    wide = make_call("nanosleep", 0x2000, memory={0x2000: struct.pack("<qq", 5, 6)})
    assert wide.request == structs.TimeSpec(5, 6)
    narrow = make_call("nanosleep", 0x2000, arch=I386, memory={0x2000: struct.pack("<ii", 5, 6)})
    assert narrow.request == structs.TimeSpec(5, 6)


def test_extensible_structs_are_as_long_as_their_size_says() -> None:
    """openat2 reads what the caller knows, up to a page."""
    how = struct.pack("<QQQ", 1, 2, 3)
    memory = {0x2000: how + b"\1\2\3\4"}
    assert make_call("openat2", 0, 0, 0x2000, 24, memory=memory).how == (1, 2, 3, b"")
    assert make_call("openat2", 0, 0, 0x2000, 28, memory=memory).how.extra == b"\1\2\3\4"
    for size in (0, 4097, -1):
        with pytest.raises(Refused) as caught:
            make_call("openat2", 0, 0, 0x2000, size, memory=memory).how  # noqa: B018
        assert caught.value.errno == errno.E2BIG


def test_clone3_is_decoded() -> None:
    """The flags of clone3 are behind a pointer and can be looked at."""
    memory = {0x2000: struct.pack("<11Q", 0x10000000, *range(10))}
    args = make_call("clone3", 0x2000, 88, memory=memory).args
    assert args.flags == 0x10000000
    assert args.cgroup == 9
    assert make_call("clone3", 0x2000, 64, memory=memory).args.set_tid == 0


@pytest.mark.parametrize(
    ("call", "argument", "index", "least", "most"),
    [("sched_setattr", "attr", 1, 48, 56), ("statmount", "req", 0, 24, 32)],
)
def test_structs_that_carry_their_size(
    call: str, argument: str, index: int, least: int, most: int
) -> None:
    """The kernel reads as many bytes as the struct's own first field says, and so do we."""
    args = [0] * index + [0x2000]
    for size in (least, most, most + 8):
        raw = struct.pack("<I", size) + bytes([7]) * (size - 4)
        # No byte more is mapped: a caller may put the struct at the end of a page.
        made = make_call(call, *args, memory={0x2000: raw})
        value = getattr(made, argument)
        assert value.size == size
        assert value.extra == raw[most:]
        read = [at for start, count in made.caller.reads for at in range(start, start + count)]
        assert sorted(read) == list(range(0x2000, 0x2000 + size))
    for size in (1, least - 1, 4097, 0xFFFFFFFF):
        with pytest.raises(Refused):
            getattr(
                make_call(call, *args, memory={0x2000: struct.pack("<I", size) + bytes(60)}),
                argument,
            )


def test_sched_attr_of_size_zero_is_the_first_version() -> None:
    """The kernel takes a size of 0 for that of the first version."""
    call = make_call("sched_setattr", 0, 0x2000, memory={0x2000: bytes(48)})
    assert call.attr == (0,) * 10 + (b"",)


def test_null_is_efault_where_the_kernel_says_so() -> None:
    """NULL is no path, no struct, no address."""
    for call, argument in [("openat", "path"), ("nanosleep", "request"), ("connect", "address")]:
        with pytest.raises(BadAddress) as caught:
            getattr(make_call(call, 0, 0, 5), argument)
        assert caught.value.errno == errno.EFAULT


@pytest.mark.parametrize(("call", "argument"), sorted(NULLABLE))
def test_null_is_none_where_it_means_something(call: str, argument: str) -> None:
    """Some pointers may be NULL; no memory is read then."""
    spec = model.spec(call).arg(argument)
    assert issubclass(kind_of(spec), MemoryArgument)
    arch = next(arch for arch in Arch if tables.number(call, arch) is not None)
    made = make_call(call, arch=arch)
    assert getattr(made, argument) is None
    assert made.caller.reads == []


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ("semtimedop", "timeout"),
        ("epoll_pwait2", "timeout"),
        ("rt_sigtimedwait", "timeout"),
        ("mq_timedsend", "timeout"),
        ("io_uring_enter", "arg"),
        ("fanotify_mark", "path"),
        ("request_key", "callout_info"),
        ("futex_waitv", "timeout"),
        ("settimeofday", "tv"),
        ("ppoll", "tmo_p"),
        ("select", "timeout"),
    ],
)
def test_optional_pointers_are_known(call: str, argument: str) -> None:
    """Waiting without a time-out is no EFAULT."""
    assert (call, argument) in NULLABLE


def test_each_object_is_read_once() -> None:
    """M7: the copy that was decided on is the copy that everybody gets."""
    call = make_call("openat", 0, PATH, memory={PATH: b"/etc/passwd\0"})
    first = call.path
    call.caller.pieces[PATH] = b"/etc/shadow\0"
    assert call.path is first
    assert call.describe()["path"] is first
    assert len(call.caller.reads) == 1


def test_reading_memory_marks_the_call() -> None:
    """C2: a look at memory makes a plain Continue illegal; a look at a register does not."""
    call = make_call("openat", 0, PATH, 0, memory={PATH: b"/x\0"})
    assert (call.dirfd, call.flags, call.mode) == (0, 0, 0)
    assert not call.exchange.memory_read
    assert call.path
    assert call.exchange.memory_read


def test_a_failed_read_marks_the_call() -> None:
    """That it could not be read is a fact about memory too."""
    call = make_call("openat", 0, UNMAPPED)
    with pytest.raises(BadAddress):
        call.path  # noqa: B018
    assert call.exchange.memory_read


def test_describe_does_not_mark() -> None:
    """Instruments look and decide nothing; but a handler that uses their copy is marked."""
    call = make_call("openat", 3, PATH, 0, memory={PATH: b"/x\0"})
    assert call.describe() == {"dirfd": 3, "path": TargetPath("/x"), "flags": 0, "mode": 0}
    assert not call.exchange.memory_read
    assert call.path == TargetPath("/x")
    assert call.exchange.memory_read
    assert len(call.caller.reads) == 1


def test_describe_shows_what_cannot_be_read() -> None:
    """An unreadable argument is there as its error, and the others as usual."""
    found = make_call("openat", 3, UNMAPPED).describe()
    assert isinstance(found["path"], BadAddress)
    assert found["dirfd"] == 3


def test_a_path_without_an_end_is_too_long() -> None:
    """M5: no NUL within PATH_MAX is ENAMETOOLONG."""
    with pytest.raises(PathTooLong):
        make_call("open", PATH, memory={PATH: b"a" * 5000}).path  # noqa: B018
    assert make_call("open", PATH, memory={PATH: b"a" * 4095 + b"\0"}).path


def test_arguments_cannot_be_changed() -> None:
    """What the target asked for is a fact."""
    call = make_call("openat", 3)
    with pytest.raises(AttributeError, match=r"openat\.dirfd"):
        call.dirfd = 4
    with pytest.raises(AttributeError):
        call.other = 4


def test_on_the_class_an_argument_is_a_question() -> None:
    """It says what it is."""
    argument = OpenAt.flags
    assert isinstance(argument, Argument)
    assert (str(argument), argument.enum) == ("openat.flags", OpenFlags)
    assert repr(OpenAt.path) == "<Argument openat.path: const char *>"
    assert {argument: 1}[argument] == 1


@pytest.mark.parametrize(
    ("call", "argument", "args", "value"),
    [
        ("pwrite64", "offset", (3, 0, 0, 0xDD00000005, 0xDD00000001), (1 << 32) | 5),
        ("pwrite64", "offset", (3, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF), -1),
        ("truncate64", "length", (0, 7, 2), (2 << 32) | 7),
        ("fanotify_mark", "mask", (0, 0, 1, 0x80000000), (1 << 63) | 1),
    ],
)
def test_64_bit_values_in_two_registers(
    call: str, argument: str, args: tuple[int, ...], value: int
) -> None:
    """B6: i386 passes the halves in two registers; a handler sees one value."""
    assert getattr(make_call(call, *args, arch=I386), argument) == value


def test_the_halves_are_in_the_order_of_the_abi() -> None:
    """B6: a big-endian ABI passes the upper half first, arm starts at an even register."""
    assert make_call("pwrite64", 3, 0, 0, 0, 1, 5, arch=Arch.ARM).offset == (5 << 32) | 1
    assert make_call("truncate64", 0, 2, 7, arch=Arch.S390).length == (2 << 32) | 7


@pytest.mark.parametrize(
    ("call", "argument", "arch"), [("mmap", "flags", I386), ("select", "timeout", I386)]
)
def test_arguments_that_an_abi_does_not_have(call: str, argument: str, arch: Arch) -> None:
    """B6: i386's mmap has one pointer; asking for its flags must not yield another register."""
    made = make_call(call, 0x2000, arch=arch)
    with pytest.raises(NotExpressible, match=f"{call}.*{arch.label}"):
        getattr(made, argument)
    assert set(made.describe()) == {spec.name for spec in model.spec(call, arch).args}


def _all() -> list[Any]:
    return [
        (arch, name)
        for arch in (X86_64, I386, Arch.X32, ARM64, S390X, Arch.MIPS)
        for name in tables.numbers(arch)
        if name in model.names()
    ]


@pytest.mark.parametrize(
    "registers", [(0,) * 6, ((1 << 64) - 1,) * 6, tuple(range(0x2000, 0x2006))]
)
def test_every_call_can_be_described(registers: tuple[int, ...]) -> None:
    """Whatever is in the registers, an argument is a value or a TargetError, never a crash."""
    memory = {0x1000: bytes(range(256)) * 64}
    for arch, name in _all():
        call = make_call(name, *registers, arch=arch, caller=FakeCaller(memory))
        described = call.describe()
        assert set(described) == {spec.name for spec in call.spec.args}
        assert repr(call).startswith(type(call).__name__ + "(")
        for value in described.values():
            assert not isinstance(value, Exception) or isinstance(value, TargetError)
        assert not call.exchange.memory_read


def test_every_argument_of_the_generic_class_can_be_asked_for() -> None:
    """A handler may use any name of the class on any ABI: a value, a TargetError, or a clear no."""
    for arch, name in _all():
        call = make_call(name, *range(0x2000, 0x2006), arch=arch)
        for spec in call_class(name).spec.args:
            with suppress(TargetError, NotExpressible):
                getattr(call, spec.name)


def test_subclasses_are_only_made_where_arguments_differ() -> None:
    """Most calls have one class everywhere; on() finds the subclass by its base."""
    assert class_for("openat", I386) is OpenAt
    assert class_for("pwrite64", I386) is not call_class("pwrite64")
    assert issubclass(class_for("pwrite64", I386), call_class("pwrite64"))
