from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Instruction, Program, compile_filter, disassemble
from unotify.bpf.formats import to_json
from unotify.bpf.instructions import ld_abs, ret
from unotify.cli.failures import CommandError, Exit
from unotify.cli.inputs import (
    MOST,
    load_any,
    load_policy,
    load_program,
    parse,
    read_bytes,
    read_instructions,
)
from unotify.errors import InvalidProgram, PolicyError, UnknownName
from unotify.policy.model import Policy

X86 = Arch.X86_64
PROGRAM = compile_filter({X86: {83: Action.ERRNO | 1}}, default=int(Action.ALLOW))
TOML = 'version = 1\ndefault = "allow"\n'
OCI = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to write; its name says nothing."""
    return tmp_path / "file"


def refusal(file: Path | str) -> CommandError:
    """Why nothing can be made of a file."""
    with pytest.raises(CommandError) as caught:
        load_any(str(file), native=X86)
    return caught.value


@pytest.mark.parametrize("form", ["raw", "text", "names", "json"])
def test_filters_in_each_form(file: Path, form: str) -> None:
    """Raw BPF, its text with and without names, and its JSON are the same filter."""
    forms = {
        "raw": PROGRAM.encode(),
        "text": disassemble(PROGRAM).encode(),
        "names": disassemble(PROGRAM, names=True).encode(),
        "json": to_json(PROGRAM),
    }
    file.write_bytes(forms[form])
    assert load_any(str(file), native=X86) == PROGRAM
    assert load_program(str(file), native=X86) == PROGRAM
    with pytest.raises(CommandError, match="is a filter, not a policy") as caught:
        load_policy(str(file), native=X86)
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize("text", [TOML, "\ufeff" + TOML, "# A = arch\n\n" + TOML, OCI])
def test_policies_in_each_form(file: Path, text: str) -> None:
    """TOML, with a byte order mark too, and OCI profiles are policies; they compile to filters."""
    file.write_text(text, encoding="utf-8")
    assert isinstance(load_any(str(file), native=X86), Policy)
    assert load_policy(str(file), native=X86).source == str(file)
    assert isinstance(load_program(str(file), native=X86), Program)


def test_includes_lie_beside_the_file(tmp_path: Path) -> None:
    """An include is looked for where the file is, not where we are."""
    (tmp_path / "base.toml").write_text(
        'version = 1\n[[rule]]\ncalls = ["mount"]\ndo = "kill-process"\n'
    )
    (tmp_path / "top.toml").write_text(f'include = "base.toml"\n{TOML}')
    policy = load_policy(str(tmp_path / "top.toml"), native=X86)
    assert [rule.calls for rule in policy.rules]
    (tmp_path / "top.toml").write_text(f'include = "none.toml"\n{TOML}')
    with pytest.raises(PolicyError, match=r"none\.toml.*cannot be read"):
        load_policy(str(tmp_path / "top.toml"), native=X86)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """What is not there, is a directory, or has an impossible name: one sentence, exit code 2."""
    for path in (tmp_path / "none", tmp_path, "a\0b", f"/proc/{'x' * 300}"):
        error = refusal(path)
        assert error.code == Exit.USAGE
        assert str(error).startswith("cannot read")


def test_files_that_are_neither(file: Path) -> None:
    """Nothing, and bytes that are no text and no filter, are told apart."""
    file.write_bytes(b"")
    assert str(refusal(file)) == f"{file} is empty"
    file.write_bytes(b" \n")
    assert str(refusal(file)) == f"{file} is empty"
    file.write_bytes(b"\x7fELF\x02\x01\x01\0\0\0")
    assert "10 bytes are not a whole number of 8-byte instructions" in str(refusal(file))
    file.write_bytes("für".encode("latin-1"))
    assert "neither text nor a filter" in str(refusal(file))


def test_endless_files() -> None:
    """/dev/zero is refused, not read to its end."""
    assert f"more than {MOST >> 20} MiB" in str(refusal("/dev/zero"))


def test_filters_that_no_kernel_takes(file: Path) -> None:
    """A filter with a fault says which instruction; one of the other byte order says so."""
    file.write_bytes(Program((ld_abs(0), ld_abs(4))).encode())
    with pytest.raises(InvalidProgram, match="is no filter: instruction 1 is the last") as caught:
        load_any(str(file), native=X86)
    assert (caught.value.index, caught.value.source) == (1, str(file))
    assert read_instructions(str(file), native=X86) == (ld_abs(0), ld_abs(4))
    rows = [instruction._asdict() for instruction in (ld_abs(0), ld_abs(4))]
    file.write_text(json.dumps({"instructions": rows}))
    assert read_instructions(str(file), native=X86) == (ld_abs(0), ld_abs(4))
    raw = PROGRAM.encode()
    other = b"".join(
        raw[at : at + 2][::-1] + raw[at + 2 : at + 4] + raw[at + 4 : at + 8][::-1]
        for at in range(0, len(raw), 8)
    )
    file.write_bytes(other)
    with pytest.raises(InvalidProgram) as caught:
        load_any(str(file), native=X86)
    assert caught.value.hint == "its bytes are in the order of another kind of machine"


def test_mistakes_in_text_have_a_place(file: Path) -> None:
    """An error in a filter's text names file, line and column."""
    file.write_text("A = nr\nreturn ALOW\n")
    with pytest.raises(UnknownName) as caught:
        load_any(str(file), native=X86)
    error = caught.value
    assert (error.source, error.line, error.column) == (str(file), 2, 8)


@pytest.mark.parametrize(
    "text",
    [
        '{"instructions": 1}',
        '{"instructions": [1]}',
        '{"instructions": [{"code": 6, "jt": 0, "jf": 0}]}',
        '{"instructions": [{"code": 6, "jt": 256, "jf": 0, "k": 0}]}',
        '{"instructions": [{"code": 6, "jt": true, "jf": 0, "k": 0}]}',
        '{"instructions": []}',
        "{",
        "{" * 5000,
    ],
)
def test_mistakes_in_json(file: Path, text: str) -> None:
    """JSON that is neither a filter nor a profile is an error of the policy's author."""
    file.write_text(text)
    with pytest.raises(PolicyError):
        load_any(str(file), native=X86)


def test_json_of_a_filter_needs_numbers_only() -> None:
    """The text beside the numbers is for people."""
    document = {"instructions": [{"code": 6, "jt": 0, "jf": 0, "k": 0, "text": "return ALLOW"}]}
    assert parse(json.dumps(document).encode(), "x", native=X86) == Program((ret(0),))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash is standard input, and errors call it so."""
    reader, writer = os.pipe()
    os.write(writer, b"return ALOW")
    os.close(writer)
    with open(reader) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        with pytest.raises(UnknownName) as caught:
            load_any("-", native=X86)
    assert caught.value.source == "standard input"


def test_damaged_files_are_refused_in_words() -> None:
    """Whatever becomes of a filter or a policy, reading it ends in one or in our own error."""
    rng = random.Random(5)
    good = [
        PROGRAM.encode(),
        disassemble(PROGRAM, names=True).encode(),
        to_json(PROGRAM),
        TOML.encode(),
        OCI.encode(),
    ]
    read = 0
    for data in good * 60:
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        try:
            parse(bytes(damaged), "file", native=X86)
        except (PolicyError, CommandError) as error:
            message = str(error)
        else:
            message = "good"
            read += 1
        assert message
        assert len(message) < 1000
    assert 0 < read < 300


def test_read_bytes(file: Path) -> None:
    """A file's content comes as it is."""
    file.write_bytes(b"\0\1\xff")
    assert read_bytes(str(file)) == b"\0\1\xff"


def test_instructions_of_a_policy(file: Path) -> None:
    """A policy has the instructions of its filter."""
    file.write_text(TOML)
    found = read_instructions(str(file), native=X86)
    assert found == load_program(str(file), native=X86).instructions
    assert isinstance(found[0], Instruction)
