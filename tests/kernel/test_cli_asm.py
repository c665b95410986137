from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.kernel.cli_support import ENVIRON, UNOTIFY, Terminal, cli
from unotify.abi.seccomp import Action
from unotify.bpf import Program, decode
from unotify.bpf.instructions import jeq, ld_abs, ret
from unotify.cli.failures import Exit

TEXT = """\
; mount is refused
start:  A = arch        # labels may stand where nothing jumps to
        if A != x86_64 goto bad
        A = nr
        if A == x86_64:mount goto no else goto yes
yes:    return ALLOW
no:     return ERRNO(EPERM)
bad:    return KILL_PROCESS
"""
CODE = (
    ld_abs(4),
    jeq(0xC000003E, 0, 4),
    ld_abs(0),
    jeq(165, 1, 0),
    ret(Action.ALLOW),
    ret(Action.ERRNO | 1),
    ret(Action.KILL_PROCESS),
)
SHOWN = """\
        A = arch
        if A != x86_64 goto L6
        A = nr
        if A == x86_64:mount goto L5
        return ALLOW
L5:     return ERRNO(EPERM)
L6:     return KILL_PROCESS
"""
POLICY = """\
version = 1
default = "allow"
architectures = ["x86_64", "i386"]

[[rule]]
calls = ["socket"]
where = "family in (AF_INET, AF_INET6)"
do = { fail = "EACCES" }
"""


def piped(*args: str, data: bytes) -> bytes:
    """What a command makes of bytes."""
    return subprocess.run(
        [*UNOTIFY, *args], input=data, env=ENVIRON, capture_output=True, check=True
    ).stdout


@pytest.fixture(name="raw")
def _raw(tmp_path: Path) -> str:
    """The filter as raw BPF."""
    file = tmp_path / "filter.bpf"
    file.write_bytes(Program(CODE).encode())
    return str(file)


def test_text_to_filter(tmp_path: Path) -> None:
    """The example of the help: labels, comments, names; the file is told with its length."""
    text, out = tmp_path / "filter.txt", tmp_path / "out.bpf"
    text.write_text(TEXT)
    done = cli("asm", str(text), "-o", str(out))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{out}: 7 instructions\n"
    assert decode(out.read_bytes()) == CODE


def test_the_help_is_true() -> None:
    """The program that the help shows, and the statements that it names, are taken."""
    shown = cli("asm", "--help").stdout.partition("behind ; or #:\n")[2]
    example, _, rest = shown.partition("  There are also ")
    assert decode(piped("asm", "-", data=example.encode())) == CODE
    statements = rest.partition(";")[0].split(", ")
    assert statements.pop() == "goto L"
    program = "\n".join([*statements, "goto L", "L: return ALLOW"])
    assert len(decode(piped("asm", "-", data=program.encode()))) == 7
    for comparison in ("==", "!=", "<", "<=", ">", ">=", "&", "!&"):
        assert comparison in rest
        line = f"A = nr\nif A {comparison} 3 goto L\nreturn LOG\nL: return ALLOW\n"
        assert len(decode(piped("asm", "-", data=line.encode()))) == 4


def test_filter_to_text(raw: str) -> None:
    """Golden: labels where something jumps to, and names; --numbers has none of those."""
    done = cli("disasm", raw)
    assert (done.returncode, done.stdout, done.stderr) == (0, SHOWN, "")
    done = cli("disasm", raw, "--numbers")
    assert "if A != 0xc000003e goto L6" in done.stdout
    assert "if A == 0xa5 goto L5" in done.stdout
    assert "ERRNO(1)" in done.stdout


@pytest.mark.parametrize("options", [[], ["--numbers"]])
def test_round_trip(options: list[str], tmp_path: Path) -> None:
    """What disasm prints, asm reads back to the same bytes, through files and pipes."""
    policy, raw, text, again = (tmp_path / name for name in ("p.toml", "a.bpf", "a.txt", "b.bpf"))
    policy.write_text(POLICY)
    cli("compile", str(policy), "--format", "raw", "-o", str(raw))
    text.write_text(cli("disasm", str(raw), *options).stdout)
    assert cli("asm", str(text), "-o", str(again)).returncode == 0
    assert again.read_bytes() == raw.read_bytes()
    shown = piped("disasm", "-", *options, data=raw.read_bytes())
    assert shown == text.read_bytes()
    assert piped("asm", "-", data=shown) == raw.read_bytes()
    assert piped("asm", "-", "-o", "-", data=shown) == raw.read_bytes()


def test_every_form_is_shown(raw: str, tmp_path: Path) -> None:
    """JSON and text of a filter, a policy and a profile are shown as the filters that they are."""
    as_json = tmp_path / "filter.json"
    as_json.write_text(cli("disasm", raw, "--json").stdout)
    assert cli("disasm", str(as_json)).stdout == SHOWN
    assert cli("disasm", "-", input=TEXT).stdout == SHOWN
    policy = cli("disasm", "-", input=POLICY)
    assert (policy.returncode, policy.stderr) == (0, "")
    assert "i386:socket" in policy.stdout
    profile = cli("disasm", "-", input='{"defaultAction": "SCMP_ACT_LOG"}')
    assert "return LOG" in profile.stdout


def test_json(raw: str) -> None:
    """JSON has the numbers of each instruction, its text, and what is wrong with the filter."""
    found = json.loads(cli("disasm", raw, "--json").stdout)
    assert (found["length"], found["error"]) == (7, None)
    assert found["instructions"][5] == {
        "code": 6,
        "jt": 0,
        "jf": 0,
        "k": Action.ERRNO | 1,
        "text": "L5: return ERRNO(EPERM)",
    }
    done = cli("asm", "-", "--json", input=TEXT)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["length"] == 7


def test_whose_calls() -> None:
    """--arch says whose calls the numbers are, where the filter does not ask."""
    text = "A = nr\nif A == 2 goto L\nreturn ALLOW\nL: return LOG\n"
    assert "== 0x2 " in cli("disasm", "-", input=text).stdout
    assert "== x86_64:open " in cli("disasm", "-", "--arch", "x86_64", input=text).stdout
    assert "== i386:fork " in cli("disasm", "-", "--arch", "i386", input=text).stdout


def test_whose_byte_order() -> None:
    """--arch says which word low() and high() mean."""
    text = "A = low(args[0])\nreturn ALLOW\n"
    words = {
        arch: json.loads(cli("asm", "-", "--json", "--arch", arch, input=text).stdout)[
            "instructions"
        ][0]["k"]
        for arch in ("x86_64", "s390x")
    }
    assert words == {"x86_64": 16, "s390x": 20}


@pytest.mark.parametrize("form", ["raw", "json"])
def test_a_filter_that_no_kernel_takes(form: str, tmp_path: Path) -> None:
    """It is shown, and then it is said what is wrong; exit code 3."""
    file = tmp_path / "filter"
    if form == "raw":
        file.write_bytes(Program((jeq(0, 5, 5),)).encode())
    else:
        file.write_text(json.dumps({"instructions": [jeq(0, 5, 5)._asdict()]}))
    done = cli("disasm", str(file))
    assert done.returncode == Exit.POLICY
    assert done.stdout == "        code 0x15 jt 5 jf 5 k 0x0\n"
    assert done.stderr == (
        "unotify: error: the kernel would not take this filter: "
        "instruction 0 skips 5 instructions where 0 follow\n"
    )
    found = json.loads(cli("disasm", str(file), "--json").stdout)
    assert found["error"] == "instruction 0 skips 5 instructions where 0 follow"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A = foo\n", ":1:5: no number is named foo"),
        ("return ALLOW\nreturn ALOW\n", ":2:8: "),
        ("if A == 3 goto nowhere\nreturn ALLOW\n", ":1:16: there is no label nowhere"),
        ("x: return ALLOW\nx: return LOG\n", ":2:1: "),
        ("A = nr\n", ":"),
        ("", ":1:1: a program has 1 to 4096 instructions, this one has 0"),
        ("version = 1\n", ":1:1: no statement begins with version"),
    ],
)
def test_bad_text(text: str, told: str, tmp_path: Path) -> None:
    """A mistake is one sentence with file, line and column; nothing is written."""
    file, out = tmp_path / "bad.txt", tmp_path / "out.bpf"
    file.write_text(text)
    done = cli("asm", str(file), "-o", str(out))
    assert (done.returncode, done.stdout) == (Exit.POLICY, "")
    assert done.stderr.startswith(f"unotify: error: {file}{told}")
    assert not out.exists()
    done = cli("asm", "-", "--json", input=text)
    assert done.stderr.startswith(f"unotify: error: standard input{told}")


def test_files_of_other_kinds(raw: str, tmp_path: Path) -> None:
    """Asm takes text alone, disasm no torsos; both say what they need."""
    done = cli("asm", raw, "-o", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (
        Exit.POLICY,
        f"unotify: error: {raw} is no text in UTF-8\n",
    )
    torso = tmp_path / "torso.bpf"
    torso.write_bytes(Path(raw).read_bytes()[:13])
    done = cli("disasm", str(torso))
    assert done.returncode == Exit.POLICY
    assert "13 bytes are not a whole number of 8-byte instructions\n" in done.stderr
    for command in ("asm", "disasm"):
        done = cli(command, str(tmp_path / "none"), "--json")
        assert (done.returncode, done.stderr) == (
            Exit.USAGE,
            f"unotify: error: cannot read {tmp_path}/none: No such file or directory\n",
        )
    text = tmp_path / "text"
    text.write_text(TEXT)
    done = cli("asm", str(text), "-o", str(tmp_path / "none" / "out"))
    assert done.returncode == Exit.USAGE
    assert "cannot write" in done.stderr


def test_raw_filters_and_terminals(tmp_path: Path) -> None:
    """A terminal does not get raw bytes, but JSON."""
    text = tmp_path / "text"
    text.write_text(TEXT)
    with Terminal(*UNOTIFY, "asm", str(text)) as terminal:
        terminal.expect("a raw filter is not for terminals")
        assert terminal.status() == Exit.USAGE
    with Terminal(*UNOTIFY, "asm", str(text), "--json") as terminal:
        terminal.expect('"length": 7')
        assert terminal.status() == 0


@pytest.mark.parametrize("command", ["asm", "disasm"])
def test_help(command: str) -> None:
    """Each has an example in its help."""
    done = cli(command, "--help")
    assert done.returncode == 0
    assert "unotify disasm filter.bpf" in done.stdout
