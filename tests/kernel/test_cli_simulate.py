from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.cli_support import cli
from unotify.cli.failures import Exit

REFUSING = """\
        A = arch
        if A != x86_64 goto other
        A = nr
        if A == x86_64:openat goto look
        if A == x86_64:mkdir goto no else goto yes
look:   A = low(args[2])
        if A & 0x40 goto no
yes:    return ALLOW
no:     return ERRNO(EROFS)
other:  return KILL_PROCESS
"""
ASKING = """\
        A = nr
        if A == x86_64:mkdir goto ask
        if A == x86_64:openat goto ask
        return ALLOW
ask:    return USER_NOTIF
"""
POLICY = """\
version = 1
default = "allow"
architectures = ["x86_64"]

[[rule]]
calls = ["mount"]
do = "notify"

[[rule]]
calls = ["mkdir"]
do = { fail = "EACCES" }
"""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a file and returns its name."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def simulated(*args: str, **options: object) -> dict[str, object]:
    """The JSON of a simulation."""
    before, dashes, call = (args[: args.index("--")], "--", args[args.index("--") + 1 :])
    done = cli("simulate", *before, "--arch", "x86_64", "--json", dashes, *call, **options)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_trace(file: Callable[[str, str], str]) -> None:
    """Golden: the call, each instruction that runs with the registers, and what the kernel does."""
    name = file("a.txt", REFUSING)
    call = ["openat", "AT_FDCWD", "/tmp/x", "O_WRONLY|O_CREAT", "0o600"]
    done = cli("simulate", name, "--arch", "x86_64", "--", *call)
    assert (done.returncode, done.stderr) == (0, "")
    first, empty, *rest = done.stdout.splitlines()
    assert first.startswith("openat(dirfd=AT_FDCWD, path=0x")
    assert first.endswith(", flags=O_WRONLY|O_CREAT, mode=0x180) on x86_64")
    assert (empty, rest) == (
        "",
        [
            f"filter 1 ({name}): 7 of 10 instructions run",
            "     0          A = arch                              A = 0xc000003e",
            "     1          if A != x86_64 goto L9",
            "     2          A = nr                                A = 0x101",
            "     3          if A == x86_64:openat goto L5",
            "     5  L5:     A = low(args[2])                      A = 0x41",
            "     6          if A & 0x40 goto L8",
            "     8  L8:     return ERRNO(EROFS)",
            "  = ERRNO(EROFS)",
            "",
            f"the call fails with EROFS, says filter 1 ({name})",
        ],
    )


def test_a_trace_as_json(file: Callable[[str, str], str]) -> None:
    """JSON says the same: call, steps, answers and outcome."""
    name = file("a.txt", REFUSING)
    found = simulated(name, "--", "openat", "flags=O_CREAT")
    assert (found["action"], found["errno"], found["winner"]) == ("ERRNO", 30, 1)
    assert found["call"]["call"] == "openat"  # type: ignore[index]
    (only,) = found["filters"]  # type: ignore[misc]
    assert (only["file"], only["executed"], only["instructions"]) == (name, 7, 10)
    assert [step["index"] for step in only["steps"]] == [0, 1, 2, 3, 5, 6, 8]
    assert only["steps"][2] == {"index": 2, "text": "A = nr", "a": 257, "x": 0}


def test_a_call_that_is_cached(file: Callable[[str, str], str]) -> None:
    """What the kernel knows to be always allowed runs no filter, which is said."""
    name = file("a.txt", REFUSING)
    done = cli("simulate", name, "--arch", "x86_64", "--", "read", "0")
    assert "none run: it is known to be always allowed" in done.stdout
    assert done.stdout.endswith("\nthe call runs\n")
    assert simulated(name, "--", "read")["filters"][0]["cached"] is True  # type: ignore[index]


def test_a_stack(file: Callable[[str, str], str]) -> None:
    """F2: the last file is the newest and runs first, all run, and the strictest answer counts."""
    old, new = file("old.txt", REFUSING), file("new.txt", ASKING)
    found = simulated(old, new, "--", "mkdir", "/x")
    assert [one["position"] for one in found["filters"]] == [2, 1]  # type: ignore[attr-defined]
    assert (found["action"], found["winner"]) == ("ERRNO", 1)
    found = simulated(old, new, "--", "openat", "flags=O_RDONLY")
    assert (found["action"], found["winner"], found["listener"]) == ("USER_NOTIF", 2, 2)
    assert found["outcome"] == f"the supervisor of filter 2 ({new}) is asked"


def test_listeners(file: Callable[[str, str], str]) -> None:
    """--listener says whose is open; without one a notification is ENOSYS."""
    name = file("new.txt", ASKING)
    allowing = file("old.txt", "return ALLOW\n")
    assert simulated(allowing, name, "--", "mkdir")["listener"] == 2
    assert simulated(allowing, name, "--listener", "2", "--", "mkdir")["listener"] == 2
    none = simulated(allowing, name, "--listener", "0", "--", "mkdir")
    assert none["listener"] is None
    assert str(none["outcome"]).startswith("the call fails with ENOSYS")
    done = cli("simulate", name, "--listener", "2", "--", "mkdir")
    assert (done.returncode, done.stderr) == (
        Exit.USAGE,
        "unotify: error: --listener 2: there is 1 filter\n"
        "unotify: hint: 1 is the first FILE, 0 means that no listener is open\n",
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("LOG", "the call is logged and runs, says "),
        ("ERRNO(0)", "the call does nothing and returns 0, says "),
        ("TRACE(7)", "a tracer is asked, with message 7, and without one the call fails"),
        ("TRAP(7)", "the thread gets SIGSYS with si_errno 7, says "),
        ("KILL_THREAD", "the thread is killed, says "),
        ("KILL_PROCESS", "the process is killed, says "),
    ],
)
def test_outcomes(answer: str, told: str) -> None:
    """Each action is told as what happens to the program."""
    outcome = simulated("-", "--", "read", input=f"return {answer}\n")["outcome"]
    assert str(outcome).startswith(told)
    assert answer == "TRACE(7)" or str(outcome).endswith("filter 1 (standard input)")


def test_every_form(file: Callable[[str, str], str], tmp_path: Path) -> None:
    """A policy, an OCI profile, raw BPF, its JSON and its text are all filters."""
    policy = file("policy.toml", POLICY)
    files = [policy, str(tmp_path / "raw"), str(tmp_path / "json"), str(tmp_path / "text")]
    for form, out in zip(("raw", "json", "text"), files[1:], strict=True):
        assert cli("compile", policy, "--format", form, "-o", out).returncode == 0
    files.append(
        file(
            "profile.json",
            '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls":'
            ' [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}',
        )
    )
    for one in files:
        assert simulated(one, "--", "mkdir")["errno"] == 13
    text = Path(policy).read_text()
    assert simulated("-", "--", "mkdir", input=text)["errno"] == 13


def test_numbers(file: Callable[[str, str], str]) -> None:
    """--nr takes any number of 32 bits instead of a call, and its arguments are numbers."""
    name = file("a.txt", REFUSING)
    found = simulated(name, "--nr", "83", "--")
    assert (found["call"]["call"], found["action"]) == ("mkdir", "ERRNO")  # type: ignore[index]
    found = simulated(name, "--nr", "0xffffffff", "--", "1", "_", "-1")
    assert found["call"]["nr"] == 0xFFFFFFFF  # type: ignore[index]
    assert found["call"]["args"] == [1, 0, (1 << 64) - 1, 0, 0, 0]  # type: ignore[index]
    assert simulated(name, "--nr", "-1", "--")["call"] == {  # type: ignore[comparison-overlap]
        **found["call"],  # type: ignore[dict-item]
        "args": [0] * 6,
    }


def test_abis(file: Callable[[str, str], str]) -> None:
    """--arch says by which ABI the call is made: number, names of arguments and what it is."""
    name = file("a.txt", REFUSING)
    done = cli("simulate", name, "--arch", "i386", "--json", "--", "socketcall", "SYS_SOCKET")
    found = json.loads(done.stdout)
    assert (found["call"]["nr"], found["call"]["args"][0]) == (102, 1)
    assert found["action"] == "KILL_PROCESS"


def test_where_the_call_is_made() -> None:
    """--ip is what a filter reads as the instruction pointer."""
    text = "A = low(instruction_pointer)\nif A == 0x1000 goto L\nreturn ALLOW\nL: return LOG\n"
    assert simulated("-", "--ip", "0x1000", "--", "read", input=text)["action"] == "LOG"
    assert simulated("-", "--", "read", input=text)["action"] == "ALLOW"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["FILE"], "give one or more files, --, and a call"),
        (["--", "read"], "give one or more files, --, and a call"),
        (["FILE", "--"], "give one or more files, --, and a call"),
        (["FILE", "--", "opnat"], "no system call is named 'opnat'\nunotify: hint: did you mean o"),
        (["FILE", "--arch", "aarch64", "--", "open"], "aarch64 has no call open\nunotify: hint: "),
        (["FILE", "--", "openat", "_", "/x", "O_CRAET"], "flags: there is no number and no const"),
        (["FILE", "--", "openat", "fd=3"], "openat has no argument fd\nunotify: hint: they are d"),
        (["FILE", "--", "close", "1", "2"], "close has 1 arguments, not 2\nunotify: hint: "),
        (["FILE", "--", "0x123456789"], "0x123456789: numbers of calls have 32 bits"),
        (["FILE", "--nr", "0x123456789", "--"], "--nr 0x123456789: numbers of calls have 32 b"),
        (["FILE", "--nr", "read", "--"], "--nr: 'read' is no number of a register"),
        (["FILE", "--nr", "9999", "--", "x"], "an argument: 'x' is no number of a register"),
        (["FILE", "--ip", "x", "--", "read"], "--ip: 'x' is no number of a register"),
        (["none", "--", "read"], "cannot read none: No such file or directory"),
    ],
)
def test_usage(args: list[str], told: str, file: Callable[[str, str], str]) -> None:
    """What is wrong with the command line is one sentence with what to do, and exits with 2."""
    name = file("a.txt", "return ALLOW\n")
    done = cli("simulate", *[name if arg == "FILE" else arg for arg in args])
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert done.stderr.startswith(f"unotify: error: {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version = 1\ndefault = 'alow'\n", ":2:11: no verb is named 'alow'"),
        ("return ALOW\n", ":1:8: "),
        ("{", ":1:2: this is not JSON"),
        ('{"instructions": [{"code": 21, "jt": 5, "jf": 5, "k": 0}]}', ": this is no filter: i"),
        ("", " is empty"),
    ],
)
def test_bad_files(text: str, told: str, file: Callable[[str, str], str]) -> None:
    """A file that is no filter is told with its place, and exits with 3."""
    name = file("bad", text)
    done = cli("simulate", name, "--", "read")
    assert (done.returncode, done.stdout) == (Exit.POLICY, "")
    assert done.stderr.startswith(f"unotify: error: {name}{told}")


def test_help() -> None:
    """The help has examples."""
    done = cli("simulate", "--help")
    assert done.returncode == 0
    assert "Examples:\n    unotify simulate policy.toml -- openat AT_FDCWD" in done.stdout
