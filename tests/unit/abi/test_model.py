"""The call model: complete, consistent with itself, and right where it matters."""

from __future__ import annotations

import itertools
import keyword

import pytest

from unotify.abi import constants, model, tables
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec, Role, spec
from unotify.errors import UnknownName

STRUCTS = {Role.IN_STRUCT, Role.OUT_STRUCT, Role.INOUT_STRUCT, Role.MSGHDR, Role.OUT_MSGHDR}
POINTERS = STRUCTS | {
    Role.PATH,
    Role.STRING,
    Role.IN_BUFFER,
    Role.OUT_BUFFER,
    Role.IN_VALUE,
    Role.OUT_VALUE,
    Role.INOUT_VALUE,
    Role.IN_ARRAY,
    Role.OUT_ARRAY,
    Role.INOUT_ARRAY,
    Role.SOCKADDR,
    Role.OUT_SOCKADDR,
    Role.SOCKLEN,
    Role.STRINGS,
    Role.POINTERS,
    Role.IOVEC,
    Role.OUT_IOVEC,
    Role.INOUT_IOVEC,
    Role.REMOTE_IOVEC,
    Role.MMSGHDR,
    Role.OUT_MMSGHDR,
    Role.FD_OUT,
}
NUMBERS = {
    Role.INT,
    Role.UINT,
    Role.FD,
    Role.DIRFD,
    Role.REMOTE_FD,
    Role.FLAGS,
    Role.COMMAND,
    Role.MODE,
    Role.DEV,
    Role.SIZE,
    Role.OFFSET,
    Role.PID,
    Role.UID,
    Role.GID,
    Role.SIGNAL,
}
BUFFERS = {Role.IN_BUFFER, Role.OUT_BUFFER, Role.IOVEC, Role.OUT_IOVEC, Role.SOCKADDR}

# Typedefs of pointers.
POINTER_TYPES = {"cap_user_header_t", "cap_user_data_t", "__sighandler_t", "compat_uptr_t"}


def is_pointer(arg: ArgSpec) -> bool:
    """Whether its C type is a pointer."""
    return arg.ctype.endswith("*") or arg.ctype in POINTER_TYPES


def everywhere() -> list[tuple[str, Arch | None]]:
    """Each call as each architecture passes it, and as such."""
    return [(name, arch) for name in model.names() for arch in (None, *Arch)]


def roles(name: str, arch: Arch | None = None) -> str:
    """A call's argument names and roles in one line."""
    return " ".join(f"{arg.name}:{arg.role.name}" for arg in spec(name, arch).args)


def test_every_call_of_every_table_has_a_row() -> None:
    """And no row is about a call that no architecture has."""
    assert set(model.names()) == {name for arch in Arch for name in tables.numbers(arch)}


def test_names_are_identifiers_and_differ() -> None:
    """They become attributes: no keyword, no doubles."""
    for name, arch in everywhere():
        names = [arg.name for arg in spec(name, arch).args]
        assert len(set(names)) == len(names), name
        assert all(arg.isidentifier() and not keyword.iskeyword(arg) for arg in names), name


def test_registers_are_in_order() -> None:
    """0 to 5, ascending, without gaps but for pairs that 32-bit ABIs align (B6)."""
    for name, arch in everywhere():
        found = [arg.index for arg in spec(name, arch).args]
        assert found == sorted(set(found))
        assert all(0 <= index <= 5 for index in found)
        if arch is None or arch.bits == 64:
            assert found == list(range(len(found))), name


def test_arguments_name_their_siblings_rightly() -> None:
    """`length` and `at` are names of arguments of the same call, of a fitting role."""
    for name, arch in everywhere():
        call = spec(name, arch)
        for arg in call.args:
            if arg.length:
                length = call.arg(arg.length)
                assert length.role in {Role.SIZE, Role.INT, Role.SOCKLEN, Role.INOUT_VALUE}, name
            if arg.at:
                assert arg.role is Role.PATH
                assert call.arg(arg.at).role is Role.DIRFD, name


def test_roles_fit_their_c_types() -> None:
    """What is pointed to is a pointer in C, what is a number is none."""
    for name, arch in everywhere():
        for arg in spec(name, arch).args:
            if arg.role in POINTERS:
                assert is_pointer(arg), (name, arg)
            if arg.role in NUMBERS:
                assert not is_pointer(arg), (name, arg)


def test_no_c_type_is_unknown() -> None:
    """Each is a pointer or in the table of widths; nothing gets a width by accident."""
    for name, arch in everywhere():
        for arg in spec(name, arch).args:
            known = is_pointer(arg) or arg.ctype.startswith("enum ")
            assert known or arg.ctype in model._SCALARS, (name, arg)


def test_structs_have_names() -> None:
    """Each argument that is one struct says which."""
    for name, arch in everywhere():
        for arg in spec(name, arch).args:
            assert arg.role not in STRUCTS or (arg.struct or "").isidentifier(), (name, arg)


def test_every_enum_exists() -> None:
    """Each enum that the model names is a class of constants, and only numbers have one."""
    for name in model.names():
        for arg in spec(name).args:
            if arg.enum:
                assert issubclass(getattr(constants, arg.enum), int), (name, arg)
                assert arg.role in {Role.FLAGS, Role.COMMAND, Role.SIGNAL}, (name, arg)


def test_buffers_have_a_length() -> None:
    """Reading one without is impossible; pciconfig's is the only one whose size is a width."""
    without = {
        name
        for name in model.names()
        for arg in spec(name).args
        if arg.role in BUFFERS and arg.length is None
    }
    assert without == {"pciconfig_read", "pciconfig_write"}


def test_paths_beside_a_descriptor_belong_to_it() -> None:
    """A path after a DIRFD is relative to it: forgetting `at` would resolve it wrongly."""
    for name in model.names():
        args = spec(name).args
        for before, arg in itertools.pairwise(args):
            if before.role is Role.DIRFD and arg.role is Role.PATH:
                assert arg.at == before.name, name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("open", "path:PATH flags:FLAGS mode:MODE"),
        ("openat", "dirfd:DIRFD path:PATH flags:FLAGS mode:MODE"),
        ("openat2", "dirfd:DIRFD path:PATH how:IN_STRUCT size:SIZE"),
        ("mount", "source:PATH target:PATH fstype:STRING flags:FLAGS data:STRING"),
        ("umount2", "target:PATH flags:FLAGS"),
        ("move_mount", "from_dirfd:DIRFD from_path:PATH to_dirfd:DIRFD to_path:PATH flags:FLAGS"),
        ("mount_setattr", "dirfd:DIRFD path:PATH flags:FLAGS attr:IN_STRUCT size:SIZE"),
        ("fsconfig", "fd:FD cmd:COMMAND key:STRING value:ARGUMENT aux:INT"),
        ("connect", "fd:FD address:SOCKADDR length:SIZE"),
        ("accept4", "fd:FD address:OUT_SOCKADDR length:SOCKLEN flags:FLAGS"),
        ("sendmsg", "fd:FD msg:MSGHDR flags:FLAGS"),
        ("sendto", "fd:FD buf:IN_BUFFER size:SIZE flags:FLAGS address:SOCKADDR length:SIZE"),
        ("finit_module", "fd:FD params:STRING flags:FLAGS"),
        ("init_module", "image:IN_BUFFER size:SIZE params:STRING"),
        ("delete_module", "name:STRING flags:FLAGS"),
        (
            "bpf",
            "cmd:COMMAND attr:INOUT_STRUCT size:SIZE common_attr:INOUT_STRUCT common_size:SIZE",
        ),
        ("mknodat", "dirfd:DIRFD path:PATH mode:MODE dev:DEV"),
        ("renameat", "olddirfd:DIRFD oldpath:PATH newdirfd:DIRFD newpath:PATH"),
        ("symlinkat", "target:STRING newdirfd:DIRFD linkpath:PATH"),
        ("setxattr", "path:PATH name:STRING value:IN_BUFFER size:SIZE flags:FLAGS"),
        ("fchownat", "dirfd:DIRFD path:PATH owner:UID group:GID flags:FLAGS"),
        ("setresuid", "ruid:UID euid:UID suid:UID"),
        ("capset", "header:INOUT_STRUCT data:IN_STRUCT"),
        ("execveat", "dirfd:DIRFD path:PATH argv:STRINGS envp:STRINGS flags:FLAGS"),
        ("fanotify_mark", "fanotify_fd:FD flags:FLAGS mask:FLAGS dirfd:DIRFD path:PATH"),
        ("ioctl", "fd:FD cmd:UINT arg:ARGUMENT"),
        ("pidfd_getfd", "pidfd:FD targetfd:REMOTE_FD flags:FLAGS"),
        ("kill", "pid:PID sig:SIGNAL"),
        ("getppid", ""),
    ],
)
def test_roles_of_calls_that_supervisors_care_about(name: str, expected: str) -> None:
    """Names as in the manual pages, roles as the kernel uses the arguments."""
    assert roles(name) == expected


@pytest.mark.parametrize(
    ("name", "argument", "bits", "signed"),
    [
        ("openat", "dirfd", 32, True),
        ("openat", "path", 0, False),
        ("openat", "flags", 32, True),
        ("openat", "mode", 16, False),
        ("mknodat", "dev", 32, False),
        ("mount", "flags", 0, False),
        ("read", "fd", 32, True),  # unsigned int in the kernel; descriptors read as signed
        ("readv", "fd", 32, True),  # unsigned long in the kernel, of which fget() takes 32 bits
        ("read", "count", 0, False),
        ("pread64", "offset", 64, True),
        ("lseek", "offset", 0, True),
        ("fanotify_mark", "mask", 64, False),
        ("chown", "owner", 32, False),
        ("clone", "flags", 32, False),  # the kernel cuts them to 32 bits
        ("unshare", "flags", 0, False),
        ("kill", "pid", 32, True),
        ("connect", "length", 32, True),
        ("ptrace", "pid", 32, True),
        ("mmap", "fd", 32, True),
        ("landlock_add_rule", "rule_type", 32, False),
        ("add_key", "keyring", 32, True),
    ],
)
def test_widths(name: str, argument: str, bits: int, signed: bool) -> None:
    """B3: as many bits as the kernel uses, signed as it takes them."""
    arg = spec(name).arg(argument)
    assert (arg.bits, arg.signed) == (bits, signed)


def test_old_ids_are_16_bits_wide_where_they_are() -> None:
    """On i386 chown takes 16-bit ids and chown32 does not; ppc never had small ones."""
    assert spec("chown", Arch.I386).arg("owner").bits == 16
    assert spec("setresgid", Arch.ARM).arg("sgid").bits == 16
    assert spec("chown32", Arch.I386).arg("owner").bits == 32
    assert spec("chown", Arch.PPC).arg("owner").bits == 32
    assert spec("chown", Arch.X86_64).arg("owner").bits == 32


def test_old_times_are_32_bits_wide_where_they_are() -> None:
    """A 32-bit ABI's timespec is the old one, but for the calls that were added for the new."""
    assert spec("clock_settime", Arch.I386).arg("tp").struct == "old_timespec32"
    assert spec("clock_settime64", Arch.I386).arg("tp").struct == "__kernel_timespec"
    assert spec("clock_settime", Arch.X86_64).arg("tp").struct == "__kernel_timespec"
    assert spec("clock_settime", Arch.MIPS64N32).arg("tp").struct == "old_timespec32"


@pytest.mark.parametrize(
    ("name", "arch", "expected"),
    [
        ("pread64", Arch.I386, "fd0 buf1 count2 offset_low3 offset_high4"),
        ("pread64", Arch.ARM, "fd0 buf1 count2 offset_low4 offset_high5"),
        ("pread64", Arch.MIPS, "fd0 buf1 count2 offset_high4 offset_low5"),
        ("pread64", Arch.MIPSEL, "fd0 buf1 count2 offset_low4 offset_high5"),
        ("pread64", Arch.PPC, "fd0 buf1 count2 offset_high4 offset_low5"),
        ("pread64", Arch.PARISC, "fd0 buf1 count2 offset_high3 offset_low4"),
        ("pread64", Arch.S390, "fd0 buf1 count2 offset_high3 offset_low4"),
        ("pread64", Arch.SH4, "fd0 buf1 count2 offset_low4 offset_high5"),
        ("truncate64", Arch.SH4, "path0 length_low1 length_high2"),
        ("truncate64", Arch.ARM, "path0 length_low2 length_high3"),
        ("truncate64", Arch.I386, "path0 length_low1 length_high2"),
        ("pread64", Arch.X32, "fd0 buf1 count2 offset3"),
        ("pread64", Arch.MIPS64N32, "fd0 buf1 count2 offset3"),
        (
            "fallocate",
            Arch.I386,
            "fd0 mode1 offset_low2 offset_high3 size_low4 size_high5",
        ),
        (
            "fanotify_mark",
            Arch.I386,
            "fanotify_fd0 flags1 mask_low2 mask_high3 dirfd4 path5",
        ),
        # The seventh argument of mips o32 lies on the stack, out of everybody's sight.
        ("sync_file_range", Arch.MIPS, "fd0 offset_high2 offset_low3 nbytes_high4 nbytes_low5"),
        (
            "arm_fadvise64_64",
            Arch.ARM,
            "fd0 advice1 offset_low2 offset_high3 size_low4 size_high5",
        ),
        (
            "fadvise64_64",
            Arch.PPC,
            "fd0 advice1 offset_high2 offset_low3 size_high4 size_low5",
        ),
        ("fadvise64_64", Arch.S390, "args0"),
        ("mmap", Arch.I386, "args0"),
        ("mmap", Arch.S390X, "args0"),
        ("mmap", Arch.X86_64, "addr0 size1 prot2 flags3 fd4 offset5"),
        ("select", Arch.I386, "args0"),
        ("clone", Arch.X86_64, "flags0 stack1 parent_tid2 child_tid3 tls4"),
        ("clone", Arch.I386, "flags0 stack1 parent_tid2 tls3 child_tid4"),
        ("clone", Arch.AARCH64, "flags0 stack1 parent_tid2 tls3 child_tid4"),
        ("clone", Arch.RISCV64, "flags0 stack1 parent_tid2 tls3 child_tid4"),
        ("clone", Arch.LOONGARCH64, "flags0 stack1 parent_tid2 child_tid3 tls4"),
        ("clone", Arch.S390X, "stack0 flags1 parent_tid2 child_tid3 tls4"),
        ("preadv", Arch.X86_64, "fd0 iov1 iovcnt2 offset_low3 offset_high4"),
        ("preadv2", Arch.X32, "fd0 iov1 iovcnt2 offset3 flags4"),
        ("pipe", Arch.X86_64, "pipefd0"),
        ("pipe", Arch.MIPS, ""),
    ],
)
def test_registers_on_peculiar_architectures(name: str, arch: Arch, expected: str) -> None:
    """B6: order, count and halves of the arguments where an ABI differs."""
    assert " ".join(f"{arg.name}{arg.index}" for arg in spec(name, arch).args) == expected


def test_halves_are_32_bit_numbers() -> None:
    """Each half of a split argument is decided and read like any other register."""
    low = spec("pread64", Arch.I386).arg("offset_low")
    assert (low.bits, low.signed, low.role) == (32, False, Role.UINT)


def test_multiplexers_are_marked() -> None:
    """B6: what they do is in their first argument, not in their number."""
    assert [name for name in model.names() if spec(name).multiplexer] == [
        "ipc",
        "socketcall",
        "syscall",
    ]
    assert set(tables.MULTIPLEXERS["socketcall"].values()) <= set(model.names())
    assert set(tables.MULTIPLEXERS["ipc"].values()) <= set(model.names())


def test_calls_that_never_return_are_marked() -> None:
    """A supervisor must not answer exit with a value: libc does not expect it to come back."""
    assert [name for name in model.names() if spec(name).never_returns] == [
        "exit",
        "exit_group",
        "rt_sigreturn",
        "sigreturn",
    ]


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("openat", "2.6.16"),
        ("seccomp", "3.17"),
        ("finit_module", "3.8"),
        ("fsopen", "5.2"),
        ("clock_gettime64", "5.1"),
        ("openat2", "5.6"),
        ("mount_setattr", "5.12"),
        ("fchmodat2", "6.6"),
        ("mseal", "6.10"),
        ("open_tree_attr", "6.15"),
        ("vserver", None),
    ],
)
def test_since(name: str, since: str | None) -> None:
    """The first kernel with the call, or ``None`` where nobody knows."""
    assert spec(name).since == since


def test_descriptors_are_what_calls_return_that_open_something() -> None:
    """A supervisor may answer those with a descriptor."""
    for name in ("open", "openat", "openat2", "socket", "accept4", "memfd_create", "fsmount"):
        assert spec(name).returns == "fd"
    assert spec("read").returns == "ssize_t"
    assert spec("exit_group").returns == "void"


def test_the_prototype_is_c() -> None:
    """For people: return type, name, types and names of the arguments."""
    assert spec("openat").prototype == (
        "fd openat(int dirfd, const char *path, int flags, umode_t mode)"
    )
    assert spec("getppid").prototype == "pid getppid(void)"


def test_unknown_calls_get_a_hint() -> None:
    """The nearest name is suggested."""
    with pytest.raises(UnknownName) as caught:
        spec("opnat")
    assert caught.value.hint == "did you mean openat?"


def test_nonsense_gets_no_hint() -> None:
    """A suggestion that has nothing to do with the question is none."""
    with pytest.raises(UnknownName) as caught:
        spec("@" * 20)
    assert caught.value.hint is None


def test_rows_of_architectures_are_no_names() -> None:
    """How a row is stored is nobody's business."""
    with pytest.raises(UnknownName):
        spec("clone@i386")


def test_unknown_arguments_are_told_which_there_are() -> None:
    """The hint lists the call's arguments."""
    with pytest.raises(UnknownName) as caught:
        spec("unlink").arg("dirfd")
    assert caught.value.hint == "it has path"
    with pytest.raises(UnknownName) as caught:
        spec("getppid").arg("pid")
    assert caught.value.hint == "it has no arguments"


def test_specs_are_shared_and_frozen() -> None:
    """One object for a call, which nobody can change."""
    assert spec("openat") is spec("openat")
    with pytest.raises(AttributeError):
        spec("openat").name = "other"  # type: ignore[misc]


def test_roles_are_documented() -> None:
    """Each role says in one line what it means."""
    assert len({role.value for role in Role}) == len(Role)
    assert all(len(role.value) > 10 and "\n" not in role.value for role in Role)
