"""An agent that has given up what it does not need: as /proc shows it, and as it shows itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.kernel.agent_support import bring, policy
from tests.kernel.cli_support import ENVIRON, begin, cli, killing
from tests.kernel.restarting_support import Command
from tests.kernel.targets import PATIENCE, Target
from unotify.abi.capabilities import Capability
from unotify.kernel.confining import permitted
from unotify.oci.protection import names_of

PERFORMING = """version = 1
default = "allow"
[[rule]]
calls = ["mkdir", "mkdirat"]
do = "perform"
"""
LOADING = """version = 1
default = "allow"
[[rule]]
calls = ["finit_module", "init_module"]
do = { load-module = { modules = ["dummy"] } }
"""


@contextmanager
def agent(directory: Path, text: str, *options: str) -> Iterator[Command]:
    """An agent with one policy."""
    policies = directory / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "default.toml").write_text(text)
    process = begin(
        *("agent", "--socket", str(directory / "s"), "--policies", str(policies), *options),
        stderr=subprocess.PIPE,
    )
    with process, killing(process):
        command = Command(directory, process)
        command.expect(f"listening at {directory / 's'}")
        yield command
        if process.poll() is None:
            process.kill()


def statuses(pid: int) -> list[dict[str, str]]:
    """What /proc says of each of its threads, but those that have just ended."""
    texts = []
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(FileNotFoundError, ProcessLookupError):
            texts.append(path.read_text())
    return [
        dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in texts
    ]


def test_it_keeps_what_its_policies_need(tmp_path: Path) -> None:
    """Each thread has these capabilities, none can be gained by exec, and a filter is in force."""
    with agent(tmp_path, policy(1)) as command, Target("getppid") as target:
        bring(tmp_path / "s", target)
        command.expect("container c1")
        target.call("getppid", 0)
        assert target.answer()["ret"] == 1
        found = statuses(command.process.pid)
        assert len(found) > 1
        for status in found:
            for which in ("CapPrm", "CapEff", "CapBnd"):
                assert names_of(int(status[which], 16)) == ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"]
            assert int(status["CapAmb"], 16) == 0
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_a_policy_that_needs_more_is_kept_out(tmp_path: Path) -> None:
    """Loaded later it changes nothing, and is told; the next agent has what it needs."""
    with agent(tmp_path, PERFORMING) as command:
        assert "CAP_SYS_MODULE" not in names_of(int(statuses(command.process.pid)[0]["CapPrm"], 16))
        (tmp_path / "policies" / "default.toml").write_text(LOADING)
        command.process.send_signal(signal.SIGHUP)
        assert "needs CAP_SYS_MODULE, which the agent gave up" in command.expect("CAP_SYS_MODULE")
        command.expect("the policies stay as they were")
    with agent(tmp_path, LOADING) as command:
        assert "CAP_SYS_MODULE" in names_of(int(statuses(command.process.pid)[0]["CapPrm"], 16))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (
            ["--keep-capability", "sys_time"],
            {"CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_SYS_TIME"},
        ),
        (["--handlers", "HANDLERS"], set(names_of(permitted()))),
        (
            ["--handlers", "HANDLERS", "--keep-capability", "none"],
            {"CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"},
        ),
        (["--unconfined"], set(names_of(permitted()))),
    ],
)
def test_what_is_kept_may_be_said(tmp_path: Path, options: list[str], kept: set[str]) -> None:
    """Code of others may need anything, unless somebody says what."""
    handlers = tmp_path / "handlers.py"
    handlers.write_text("import unotify\n@unotify.on('sync')\ndef f(call):\n    return None\n")
    given = [str(handlers) if option == "HANDLERS" else option for option in options]
    with agent(tmp_path, policy(1), *given) as command:
        (status, *_) = statuses(command.process.pid)
        assert set(names_of(int(status["CapPrm"], 16))) == kept
        assert status["Seccomp"] == ("0" if "--unconfined" in options else "2")


def test_a_capability_that_does_not_exist(tmp_path: Path) -> None:
    """One sentence, with the near name."""
    (tmp_path / "policies").mkdir()
    done = cli(
        *("agent", "--policies", str(tmp_path / "policies"), "--socket", str(tmp_path / "s")),
        *("--keep-capability", "SYS_TIM"),
    )
    assert done.returncode == 2
    assert "there is no capability SYS_TIM" in done.stderr
    assert "SYS_TIME" in done.stderr


TRYING = """
import ctypes, errno, os, subprocess, sys, threading
from unotify.abi.arch import Arch
from unotify.kernel import default_kernel
from unotify.oci.protection import Protection
hold = threading.Event()
if sys.argv[1] == "threads":
    threading.Thread(target=hold.wait, daemon=True).start()
kernel = default_kernel()
try:
    kept = Protection().confine([], kernel.arch)
except Exception as error:
    print(type(error).__name__, error)
    sys.exit()
libc = ctypes.CDLL(None, use_errno=True)
def tried(call, *args):
    done = getattr(libc, call)(*args)
    return errno.errorcode[ctypes.get_errno()] if done < 0 else done
print(tried("ptrace", 16, 1, 0, 0), tried("unshare", 0x20000), tried("reboot", 0))
print(tried("mount", 0, 0, 0, 0, 0))
print(tried("acct", None), tried("syscall", 425, 1, 0), tried("syscall", 175, 0, 0, 0))
print(subprocess.run(["true"]).returncode, os.listdir("/proc/self/task") != [])
"""


def trying(how: str) -> list[str]:
    """What a process can do that has confined itself for no policy at all."""
    done = subprocess.run(
        [sys.executable, "-c", TRYING, how],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE * 3,
    )
    return done.stdout.splitlines()


def test_what_is_given_up_is_gone() -> None:
    """Calls outside of the filter fail, capabilities are none; ordinary work goes on."""
    assert trying("alone") == ["EPERM EPERM EPERM", "EPERM", "EPERM EPERM EPERM", "0 True"]


def test_confining_too_late_is_an_error() -> None:
    """A thread that keeps its capabilities would serve calls with them."""
    (said,) = trying("threads")
    assert said.startswith("KernelError")
    assert "keeps capabilities that are to go" in said


def test_the_table_knows_each_verb_that_there_is() -> None:
    """A verb that it does not know would keep all capabilities without a word."""
    import unotify.handlers  # noqa: F401 - registers them
    from unotify.oci import protection
    from unotify.policy.actions import registered

    assert registered() - protection._VERBS.keys() == set()
    assert max(Capability) < 64
