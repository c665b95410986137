from __future__ import annotations

import json
import shutil
import subprocess
from errno import EPERM
from pathlib import Path

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Instruction, Program, compile_filter, decode, disassemble
from unotify.bpf.formats import FORMATS, action_text, render, to_c
from unotify.errors import UnknownName

PROGRAM = compile_filter({Arch.X86_64: {83: Action.ERRNO | EPERM}}, default=int(Action.ALLOW))


def test_raw_is_what_the_kernel_takes() -> None:
    """The raw form is read back as the same instructions."""
    assert decode(render(PROGRAM, "raw")) == PROGRAM.instructions


def test_json_has_the_numbers() -> None:
    """The four numbers of each instruction are in the JSON, with a text."""
    document = json.loads(render(PROGRAM, "json"))
    assert document["length"] == len(PROGRAM)
    found = [Instruction(i["code"], i["jt"], i["jf"], i["k"]) for i in document["instructions"]]
    assert Program(tuple(found)) == PROGRAM
    assert document["instructions"][0]["text"] == "A = arch"


def test_text_is_the_disassembly() -> None:
    """The text is what the disassembler writes."""
    assert render(PROGRAM, "text").decode() == disassemble(PROGRAM)


def test_c_is_golden() -> None:
    """The C source of a small program, to the letter."""
    program = compile_filter({}, default=0, bad_arch=int(Action.ALLOW))
    assert to_c(program, "none").decode() == (
        "/* A seccomp filter of 1 instructions, compiled by unotify. */\n"
        "#include <linux/filter.h>\n"
        "\n"
        "static struct sock_filter none[1] = {\n"
        "\t{ 0x06,   0,   0, 0x7fff0000 },\t/*    0: return ALLOW */\n"
        "};\n"
        "\n"
        "static struct sock_fprog none_program __attribute__((unused)) = {\n"
        "\t.len = 1,\n"
        "\t.filter = none,\n"
        "};\n"
    )


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_c_compiles(tmp_path: Path) -> None:
    """A C compiler takes it, and puts the same bytes into the object."""
    source = tmp_path / "filter.c"
    source.write_bytes(to_c(PROGRAM).replace(b"static struct sock_filter", b"struct sock_filter"))
    made = tmp_path / "filter.o"
    command = ["gcc", "-Wall", "-Werror", "-c", str(source), "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    assert PROGRAM.encode() in made.read_bytes()


@pytest.mark.parametrize("name", ["", "1st", "a-b", "x; int y"])
def test_names_in_c(name: str) -> None:
    """What is no identifier cannot get into the source."""
    with pytest.raises(UnknownName, match="is no name in C"):
        to_c(PROGRAM, name)


def test_unknown_format() -> None:
    """A format that there is not: the error lists those there are."""
    with pytest.raises(UnknownName, match="no format 'rust'") as caught:
        render(PROGRAM, "rust")
    assert caught.value.hint == f"there are {', '.join(FORMATS)}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Action.ALLOW, "ALLOW"),
        (Action.ERRNO | EPERM, "ERRNO(EPERM)"),
        (Action.ERRNO | 4000, "ERRNO(4000)"),
        (Action.ERRNO, "ERRNO(0)"),
        (Action.TRAP | 3, "TRAP(3)"),
        (0x12340000, "0x12340000 (KILL_PROCESS)"),
    ],
)
def test_actions_as_text(value: int, text: str) -> None:
    """Return values as people read them."""
    assert action_text(value) == text
