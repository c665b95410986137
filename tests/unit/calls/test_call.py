from __future__ import annotations

import importlib
from typing import Any

import pytest

import unotify.calls
from tests.unit.calls.fake_memory import FakeCaller, make_call
from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.structs import NOTIF
from unotify.calls import Argument, Call, UnknownCall, call_class, class_for, class_name
from unotify.calls.call import argument_of, class_names, decode
from unotify.errors import UnknownName
from unotify.protocol import Exchange


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openat", "OpenAt"),
        ("openat2", "OpenAt2"),
        ("renameat2", "RenameAt2"),
        ("finit_module", "FinitModule"),
        ("stat", "Stat"),
        ("lstat", "Lstat"),
        ("fstat", "Fstat"),
        ("newfstatat", "NewfstatAt"),
        ("shmat", "Shmat"),
        ("mount", "Mount"),
        ("llseek", "Llseek"),
        ("_llseek", "Llseek_"),
        ("_sysctl", "Sysctl_"),
        ("utimensat_time64", "UtimensAtTime64"),
        ("execveat", "ExecveAt"),
        ("setxattrat", "SetxattrAt"),
        ("clone3", "Clone3"),
        ("name_to_handle_at", "NameToHandleAt"),
        ("restart_syscall", "RestartSyscall"),
    ],
)
def test_class_names(name: str, expected: str) -> None:
    """Class names are CapWords of the kernel's name, with "at" as a word of its own."""
    assert class_name(name) == expected
    assert call_class(name).__name__ == expected
    assert getattr(unotify.calls, expected) is call_class(name)


def test_no_two_calls_share_a_class_name() -> None:
    """Each call of each architecture has a class, and an identifier for a name."""
    assert len(class_names()) == len(model.names())
    assert all(name.isidentifier() for name in class_names())
    assert not set(class_names()) & set(unotify.calls.__all__)


def test_a_class_is_made_once() -> None:
    """Everybody who asks for a call gets the one class."""
    assert call_class("mount") is call_class("mount")
    assert importlib.import_module("unotify.calls").Mount is call_class("mount")
    assert call_class("mount").__module__ == "unotify.calls"
    assert call_class("mount").call_name == "mount"


def test_unknown_names_are_attribute_errors_with_a_hint() -> None:
    """A typo is answered with the near name."""
    with pytest.raises(AttributeError, match="did you mean OpenAt"):
        unotify.calls.OpenAtt  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"'zzzzzz'$"):
        unotify.calls.zzzzzz  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(UnknownName):
        call_class("no_such_call")


def test_dir_lists_all_classes() -> None:
    """Completion finds classes that nobody has asked for yet."""
    assert {"OpenAt", "Call", "Kexec" + "Load"} <= set(dir(unotify.calls))


def test_no_argument_hides_what_each_call_has() -> None:
    """An argument named like an attribute of Call would silently replace it."""
    taken = {name for name in dir(Call) if not name.startswith("__")} | {"call_name", "spec"}
    for name in model.names():
        for arch in (None, *Arch):
            for spec in model.spec(name, arch).args:
                assert spec.name not in taken, (name, spec.name)


def test_each_call_has_a_class_with_its_arguments() -> None:
    """Every row of the model becomes a class, and every argument a question on it."""
    for name in model.names():
        cls = call_class(name)
        assert cls.spec is model.spec(name)
        for spec in cls.spec.args:
            assert isinstance(getattr(cls, spec.name), Argument)


@pytest.mark.parametrize("arch", Arch)
def test_each_call_has_a_class_on_each_architecture(arch: Arch) -> None:
    """Subclasses have the architecture's arguments and are found by their base."""
    for name in model.names():
        cls = class_for(name, arch)
        assert issubclass(cls, call_class(name))
        assert cls.spec.args == model.spec(name, arch).args


def test_decode_knows_the_abi_of_each_call() -> None:
    """B2: one number is different calls in different ABIs."""
    for arch, name in ((Arch.X86_64, "open"), (Arch.I386, "unlink")):
        raw = NOTIF.pack(1, 1, 0, 10 if arch is Arch.I386 else 2, arch.audit, 0, *[0] * 6)
        call = decode(Exchange(raw), lambda _: FakeCaller())
        assert (call.call_name, call.arch) == (name, arch)


@pytest.mark.parametrize(
    ("nr", "audit", "arch"),
    [
        (-1, Arch.X86_64.audit, Arch.X86_64),
        (99999, Arch.AARCH64.audit, Arch.AARCH64),
        (1, 0x12345678, Arch.X86_64),
    ],
)
def test_unknown_numbers_are_unknown_calls(nr: int, audit: int, arch: Arch) -> None:
    """B1: what no table knows has no name and no arguments, and says what it is."""
    raw = NOTIF.pack(1, 1, 0, nr, audit, 0, 1, 2, 3, 4, 5, 6)
    call = decode(Exchange(raw), lambda _: FakeCaller())
    assert isinstance(call, UnknownCall)
    assert (call.call_name, call.describe(), call.arch) == ("", {}, arch)
    assert call.exchange.args == (1, 2, 3, 4, 5, 6)
    assert repr(call) == f"UnknownCall(nr={nr}, arch={audit:#x})"


def test_x32_numbers_are_x32_calls() -> None:
    """B4: the bit in the number tells, not the audit value."""
    raw = NOTIF.pack(1, 1, 0, 0x40000002, Arch.X86_64.audit, 0, *[0] * 6)
    call = decode(Exchange(raw), lambda _: FakeCaller())
    assert (call.call_name, call.arch) == ("open", Arch.X32)


def test_the_caller_is_made_when_first_needed() -> None:
    """Most calls are decided without a look at the thread."""
    made: list[Any] = []

    def make(exchange: Exchange) -> FakeCaller:
        made.append(exchange)
        return FakeCaller()

    call = decode(make_call("openat").exchange, make)
    assert call.opened is None
    assert call.register("flags") == 0
    assert not made
    assert call.caller is call.caller is call.opened
    assert made == [call.exchange]


def test_repr_reads_no_memory() -> None:
    """A traceback shows registers, and copies where there are some already."""
    call = make_call("openat", -100, 0x1000, 0, memory={0x1000: b"/x\0"})
    assert repr(call) == "OpenAt(dirfd=-0x64, path=0x1000, flags=0x0, mode=0x0)"
    assert call.caller.reads == []
    assert call.path
    assert "path=TargetPath('/x')" in repr(call)


def test_calls_have_slots() -> None:
    """One is made for each notification, and a typo is no new attribute."""
    call = make_call("mount")
    assert not hasattr(call, "__dict__")
    with pytest.raises(AttributeError):
        call.surprise = 1


def test_argument_of_finds_by_name() -> None:
    """A policy's argument name is looked up, and a wrong one told with what there is."""
    assert argument_of("mount", "fstype") is call_class("mount").fstype  # type: ignore[attr-defined]
    with pytest.raises(UnknownName, match="fstype"):
        argument_of("mount", "nothing")
    with pytest.raises(UnknownName):
        argument_of("mount", "describe")
    with pytest.raises(UnknownName, match="none"):
        argument_of("getpid", "x")
