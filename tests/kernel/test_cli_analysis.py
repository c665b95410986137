from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.kernel.cli_support import ENVIRON, UNOTIFY, Terminal, cli
from unotify.bpf import decode
from unotify.cli.failures import Exit

POLICY = """\
version = 1
default = "allow"
architectures = ["x86_64"]

[[rule]]
name = "no files made"
calls = ["openat"]
where = "flags & O_CREAT"
do = { fail = "EROFS" }

[[rule]]
name = "passwords"
calls = ["openat"]
where = 'path == "/etc/passwd"'
do = { fail = "EACCES" }

[[rule]]
name = "rings"
calls = ["io_uring_setup", "io_uring_enter", "io_uring_register", "open", "creat", "openat2"]
do = { fail = "ENOSYS" }
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A policy with a hole."""
    # Who looks at a path and then lets the call go on must say so.
    text = POLICY.replace('"/etc/passwd"\'', '"/etc/passwd"\'\nracy = true\nbecause = "a fence"')
    file = tmp_path / "policy.toml"
    file.write_text(text)
    return str(file)


def explained(policy: str, *args: str) -> dict[str, object]:
    """The JSON of explain."""
    done = cli("explain", policy, *args, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_explain_a_call(policy: str) -> None:
    """Golden: which rule, where, at what cost, and why."""
    done = cli("explain", policy, "openat", "AT_FDCWD", "/tmp/x", "O_WRONLY|O_CREAT", "0o600")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == (
        "openat(dirfd=AT_FDCWD, path=/tmp/x, flags=O_WRONLY|O_CREAT, mode=0o600) on x86_64: "
        "fail EROFS"
    )
    assert lines[1] == '  why      "no files made": its condition holds: flags & O_CREAT'
    assert lines[2] == "  decided  in the kernel, by the filter: ERRNO(EROFS)"
    assert lines[-2:] == ["  rules asked, in order:", '    matches  "no files made": fail EROFS']


def test_explain_what_the_supervisor_decides(policy: str) -> None:
    """Strings are looked at offline; what is not given stays open."""
    found = explained(policy, "openat", "AT_FDCWD", '"/etc/passwd"', "O_RDONLY")
    assert (found["decided"], found["verdict"]) == ("supervisor", "fail EACCES")
    assert found["looks"] == ["path == '/etc/passwd'"]
    assert explained(policy, "openat", "-100", "/etc/group")["verdict"] == "allow"
    assert explained(policy, "openat")["verdict"] is None


def test_explain_cached_calls(policy: str) -> None:
    """A call that is always allowed runs no instruction."""
    found = explained(policy, "read", "0")
    assert (found["cached"], found["action"]) == (True, "ALLOW")
    done = cli("explain", policy, "read")
    assert "none: the kernel knows it is always allowed" in done.stdout


def test_explain_numbers(policy: str) -> None:
    """Numbers that nobody knows."""
    assert explained(policy, "9999")["verdict"] == "fail ENOSYS"
    assert explained(policy, "--arch", "i386", "openat")["verdict"] == "kill-process"


def test_explain_says_where_a_redirect_leads(tmp_path: Path) -> None:
    """What a verb is given is part of what is done."""
    file = tmp_path / "policy.toml"
    do = '{ redirect = { address = ":8000-8099", ports = "1-100" } }'
    file.write_text(f'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["connect"]\ndo = {do}\n')
    done = cli("explain", str(file), "connect")
    assert '  with     address = ":8000-8099", ports = "1-100"' in done.stdout.splitlines()
    found = explained(str(file), "connect")
    assert found["parameters"] == {"address": ":8000-8099", "ports": "1-100"}


def test_check_knows_what_verbs_are_given(tmp_path: Path) -> None:
    """A parameter that is misspelled, or that does not go with the others, is told."""
    file = tmp_path / "policy.toml"
    for do, said in {
        '{ redirect = { path = "/x", form = "/y" } }': "did you mean from?",
        '{ redirect = { path = "/x", ports = "1-2" } }': '"ports" goes with an address',
        '{ inject = { text = "x", sealed = "no" } }': '"inject.sealed" takes true or false',
    }.items():
        file.write_text(
            f'version = 1\ndefault = "allow"\n[[rule]]\ncalls = ["openat"]\ndo = {do}\n'
        )
        done = cli("check", str(file))
        assert (done.returncode, said in done.stdout + done.stderr) == (3, True), done.stdout


def test_explain_mistakes(policy: str) -> None:
    """A wrong name is told with the right one."""
    done = cli("explain", policy, "opnat")
    assert done.returncode == Exit.USAGE
    assert "did you mean openat?" in done.stderr
    done = cli("explain", policy, "openat", "_", "/x", "O_CRAET")
    assert done.returncode == Exit.USAGE
    assert "did you mean O_CREAT?" in done.stderr
    assert "Traceback" not in done.stderr
    for fact in ("uid", "uid=x", "foo=1"):
        assert cli("explain", policy, "openat", "--fact", fact).returncode == Exit.USAGE


def test_explain_the_whole(policy: str) -> None:
    """A table with a line for each rule and default; the same as JSON."""
    done = cli("explain", policy)
    assert done.returncode == 0, done.stderr
    for words in ("no files made", "passwords", "supervisor", "unknown numbers", "proved"):
        assert words in done.stdout
    found = explained(policy)
    assert found["architectures"] == ["x86_64"]
    assert (found["flags"], found["listener"]) == ([], None)


def test_explain_the_installation(tmp_path: Path) -> None:
    """Flags and the listener's place are shown, as text and as JSON."""
    file = tmp_path / "p.toml"
    file.write_text(
        'version = 1\ndefault = "allow"\nflags = ["log", "tsync"]\n'
        'listener = { path = "/run/[a]", metadata = "m" }\n'
    )
    done = cli("explain", str(file))
    assert "Installed with log and tsync.\n" in done.stdout
    assert "gives the listener to '/run/[a]', told 'm'." in done.stdout
    found = explained(str(file))
    assert found["flags"] == ["log", "tsync"]
    assert found["listener"] == {"path": "/run/[a]", "metadata": "m"}


def test_compile_raw(policy: str, tmp_path: Path) -> None:
    """Raw filters are the bytes that the kernel takes; a terminal does not get them."""
    out = tmp_path / "filter.bpf"
    done = cli("compile", policy, "--format", "raw", "-o", str(out))
    assert done.returncode == 0
    assert done.stderr == f"{out}: {len(decode(out.read_bytes()))} instructions, proved\n"
    piped = subprocess.run(
        [*UNOTIFY, "compile", policy, "--format", "raw"],
        env=ENVIRON,
        capture_output=True,
        check=True,
    )
    assert piped.stdout == out.read_bytes()
    with Terminal(*UNOTIFY, "compile", policy, "--format", "raw") as terminal:
        terminal.expect("a raw filter is not for terminals")
        assert terminal.status() == Exit.USAGE


def test_compile_formats(policy: str) -> None:
    """C, JSON and text say the same program."""
    count = json.loads(cli("compile", policy, "--json").stdout)["length"]
    assert f"filter[{count}]" in cli("compile", policy, "--format", "c").stdout
    text = cli("compile", policy).stdout
    assert len(text.splitlines()) == count
    assert "if A != x86_64 goto" in text
    assert text == cli("disasm", policy).stdout
    assert "sock_filter mine[" in cli("compile", policy, "--format", "c", "--name", "mine").stdout
    done = cli("compile", policy, "--format", "c", "--name", "1x")
    assert done.returncode == Exit.USAGE


def test_compile_from_standard_input(policy: str) -> None:
    """A dash reads a policy; what a filter is, is no policy."""
    text = Path(policy).read_text()
    assert cli("compile", "-", input=text).stdout == cli("compile", policy).stdout
    done = cli("compile", "-", input=cli("compile", policy).stdout)
    assert done.returncode == Exit.USAGE
    assert "standard input is a filter, not a policy" in done.stderr


def test_compile_to_oci(policy: str) -> None:
    """A profile for container runtimes, and a list of what it cannot say."""
    done = cli("compile", policy, "--format", "oci")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["defaultAction"] == "SCMP_ACT_ALLOW"
    assert "unotify: note: not in the profile: " in done.stderr
    assert "error" not in done.stderr
    assert cli("compile", policy, "--format", "oci", "--weights", "w").returncode == Exit.USAGE
    assert cli("compile", policy, "--format", "oci", "--json").returncode == Exit.USAGE


def test_compile_with_weights(policy: str, tmp_path: Path) -> None:
    """Weights change the program, not what it means."""
    weights = tmp_path / "weights"
    weights.write_text("io_uring_register 100000\n")
    plain, weighted = str(tmp_path / "plain.bpf"), str(tmp_path / "weighted.bpf")
    cli("compile", policy, "--format", "raw", "-o", plain)
    done = cli("compile", policy, "--format", "raw", "-o", weighted, "--weights", str(weights))
    assert done.returncode == 0, done.stderr
    done = cli("diff", plain, weighted)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the same")


def test_audit(policy: str, tmp_path: Path) -> None:
    """Findings with severity, reason and cure; the exit code says whether it is bad enough."""
    done = cli("audit", policy)
    assert done.returncode == 0, done.stdout
    assert "default-allow" in done.stdout
    assert cli("audit", policy, "--fail-on", "low").returncode == Exit.POLICY
    holes = tmp_path / "holes.toml"
    holes.write_text(Path(policy).read_text().replace('"openat2"]', "]").replace(", ]", "]"))
    done = cli("audit", str(holes), "--json")
    assert done.returncode == Exit.POLICY
    worst = json.loads(done.stdout)[0]
    assert (worst["severity"], worst["calls"]) == ("high", ["openat2"])
    assert worst["reason"]
    assert worst["cure"]
    assert cli("audit", str(holes), "--fail-on", "never").returncode == 0


def test_audit_of_a_filter(policy: str, tmp_path: Path) -> None:
    """A raw filter is judged by what it answers."""
    raw = str(tmp_path / "filter.bpf")
    cli("compile", policy, "--format", "raw", "-o", raw)
    found = json.loads(cli("audit", raw, "--json").stdout)
    assert "default-allow" in {finding["check"] for finding in found}
    assert all(finding["place"] is None for finding in found)


def test_diff(policy: str, tmp_path: Path) -> None:
    """Golden: each difference with both verdicts and an example; 0 for the same, 1 for others."""
    other = tmp_path / "other.toml"
    other.write_text(Path(policy).read_text().replace('"EROFS"', '"EPERM"'))
    done = cli("diff", policy, policy)
    assert (done.returncode, done.stdout) == (0, "the same\n")
    done = cli("diff", policy, str(other))
    assert done.returncode == 1
    assert done.stdout == (
        "x86_64: openat (with some arguments)\n"
        f"    {policy}: ERRNO(EROFS)\n"
        f"    {other}: ERRNO(EPERM)\n"
        "    for example openat(dirfd=0x0, path=0x0, flags=O_CREAT, mode=0x0)\n"
    )
    done = cli("diff", "-", "-", input="")
    assert done.returncode == Exit.USAGE
    assert done.stderr == "unotify: error: standard input can be A or B, not both\n"
    document = json.loads(cli("diff", policy, str(other), "--json").stdout)
    assert document["filters"][0]["example"]["call"] == "openat"


def test_diff_of_supervisors(policy: str, tmp_path: Path) -> None:
    """Where both ask their supervisors, these are compared too."""
    other = tmp_path / "other.toml"
    other.write_text(Path(policy).read_text().replace('"EACCES"', '"ENOENT"'))
    done = cli("diff", policy, str(other))
    assert done.returncode == 1
    assert "x86_64: openat (decided by the supervisor)" in done.stdout
    assert "where path == '/etc/passwd' is true" in done.stdout


def test_diff_of_sets(policy: str, tmp_path: Path) -> None:
    """Looks that read the same are not the same if the sets that they name differ."""
    texts = {}
    for name in ("one", "two"):
        text = Path(policy).read_text().replace('path == "/etc/passwd"', "path in secret")
        texts[name] = tmp_path / f"{name}.toml"
        texts[name].write_text(text + f'\n[sets]\nsecret = ["/{name}"]\n')
    done = cli("diff", str(texts["one"]), str(texts["two"]))
    assert done.returncode == 1, done.stdout
    assert "openat (decided by the supervisor)" in done.stdout
    again = tmp_path / "again.toml"
    again.write_text(texts["one"].read_text())
    assert cli("diff", str(texts["one"]), str(again)).returncode == 0


def test_diff_of_a_policy_and_a_filter(policy: str, tmp_path: Path) -> None:
    """A policy and its own filter are the same, as far as a filter goes."""
    raw = str(tmp_path / "filter.bpf")
    cli("compile", policy, "--format", "raw", "-o", raw)
    done = cli("diff", policy, raw)
    assert (done.returncode, done.stdout) == (
        0,
        "filters only: what a supervisor decides is not in them\nthe same\n",
    )


@pytest.mark.parametrize("command", ["explain", "compile", "audit", "diff"])
def test_bad_files(command: str, tmp_path: Path) -> None:
    """A file that is not there, or no policy: one sentence with the place, and what to do."""
    bad, none = tmp_path / "bad.toml", tmp_path / "none.toml"
    bad.write_text("version = 1\ndefault = 'alow'\n")
    for file, code, told in (
        (bad, Exit.POLICY, f"{bad}:2:11: no verb is named 'alow'\nunotify: hint: did you mean"),
        (none, Exit.USAGE, f"cannot read {none}: No such file or directory\n"),
    ):
        args = [str(file)] * 2 if command == "diff" else [str(file)]
        done = cli(command, *args)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(f"unotify: error: {told}")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["explain", "compile", "audit", "diff"])
def test_bad_input(command: str) -> None:
    """Standard input has a name, and of several mistakes the way to see all is told."""
    args = ["-", "/dev/null"] if command == "diff" else ["-"]
    done = cli(command, *args, input="version = 1\ndefault = 'alow'\nbogus = 1\n")
    assert done.returncode == Exit.POLICY
    assert done.stderr.startswith("unotify: error: standard input:")
    assert done.stderr.endswith("unotify: hint: 'unotify check -' tells them all\n")


@pytest.mark.parametrize("command", ["explain", "compile", "audit", "diff"])
def test_help(command: str) -> None:
    """Each command has a help with an example."""
    done = cli(command, "--help")
    assert done.returncode == 0
    assert f"Example: unotify {command} " in done.stdout


# From the Debian package golang-github-containers-common.
PROFILE = os.environ.get("UNOTIFY_CONTAINERS_PROFILE", "/usr/share/containers/seccomp.json")


@pytest.mark.skipif(not os.path.exists(PROFILE), reason="no profile of containers-common")
def test_the_profile_of_engines() -> None:
    """The default profile of container engines, whole: B6 is a known hole of it."""
    found = json.loads(cli("audit", PROFILE, "--json", "--fail-on", "never").stdout)
    checks = {finding["check"]: finding for finding in found}
    assert "socket" in checks["multiplexers"]["calls"]
    assert "families" not in checks
    assert "x86_64" in explained(PROFILE)["architectures"]  # type: ignore[operator]
    assert cli("diff", PROFILE, PROFILE).returncode == 0
