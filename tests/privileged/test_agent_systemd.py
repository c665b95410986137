"""The agent under a real systemd, which keeps its listeners when it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel.cli_support import SOURCES
from tests.kernel.restarting_support import Loaded, directory_of
from tests.kernel.targets import PATIENCE, until
from unotify.oci.control import ask

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SYSTEMD = "/usr/lib/systemd/systemd"

# A manager of its own, as a user's, in a mount namespace and a control group of its own. It thinks
# that the machine was booted with systemd, takes what is in its control group for its own, and
# all of it ends with it.
GROUP = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/groups || exit 77
mount -t cgroup2 none /run/groups && mkdir "/run/groups/unotify-$$" || exit 77
home=$(sed -n 's/^0:://p' /proc/self/cgroup)
echo $$ >"/run/groups/unotify-$$/cgroup.procs"
unshare -mC sh -c "$2" "$0" "$1"
echo $$ >"/run/groups$home/cgroup.procs"
find "/run/groups/unotify-$$" -depth -type d -exec rmdir {} +
"""
ALONE = """
umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup || exit 77
export XDG_RUNTIME_DIR="$1/run" XDG_CONFIG_HOME="$1/config"
"$0" --user --unit=unotify-agent.service --log-level=warning &
read end
kill -TERM $!
wait $!
"""


class Manager:
    """A systemd with the agent's units, adapted to a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        units = directory / "config" / "systemd" / "user"
        units.mkdir(parents=True)
        (directory / "run").mkdir()
        python = f"{sys.executable} -m unotify.cli agent"
        for name in ("unotify-agent.service", "unotify-agent.socket"):
            text = (UNITS / name).read_text()
            text = text.replace("/usr/bin/unotify agent", python)
            text = text.replace("/etc/unotify/policies", f"{directory}/policies")
            text = text.replace("/run/unotify/oci", f"{directory}/s")
            text = text.replace("/run/unotify/control", f"{directory}/control")
            text = text.replace(
                "[Service]\n",
                f"[Service]\nEnvironment=PYTHONPATH={SOURCES}\nStandardError=append:{directory}/log\n",
            )
            # What the manager of a user has no right to, or a directory for.
            for setting in ("OOMScoreAdjust=", "ConfigurationDirectory=", "LimitNOFILE="):
                text = text.replace(f"\n{setting}", f"\n# {setting}")
            text = text.replace("--policies", f"--handlers {directory}/handlers.py --policies", 1)
            (units / name).write_text(text)
        self.process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", GROUP, SYSTEMD, str(directory), ALONE],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def status(self) -> dict[str, Any] | None:
        """What the agent says of itself; ``None`` while there is none."""
        if self.process.poll() is not None:
            assert self.process.stderr is not None
            pytest.fail(f"systemd has ended: {self.process.stderr.read()}", pytrace=False)
        try:
            found: dict[str, Any] = ask(self.directory / "control", "status")[0]["agent"]
        except OSError:
            return None
        return found if found["accepting"] else None

    def show(self, what: str) -> str:
        """A property of the service, as systemd tells it."""
        done = subprocess.run(
            ["systemctl", "--user", "show", "unotify-agent.service", "--value", "-p", what],
            env={**os.environ, "XDG_RUNTIME_DIR": str(self.directory / "run")},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def close(self) -> None:
        """The end of all of it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()


@pytest.fixture(name="manager")
def _manager(tmp_path: Path) -> Iterator[Manager]:
    if not os.access(SYSTEMD, os.X_OK) or shutil.which("systemctl") is None:
        missing("there is no systemd here")
    manager = Manager(directory_of(tmp_path))
    yield manager
    manager.close()


@pytest.mark.slow
def test_sigkill_under_systemd(manager: Manager) -> None:
    """The next agent is started and given all listeners: no wrong answer, no ENOSYS."""
    status: Any = until(manager.status, "the agent")
    targets = []
    for round in range(2):
        targets.append(Loaded(manager.directory / "s", f"c{round}", 3, 500))
        until(lambda: (manager.status() or {"containers": 0})["containers"] == round + 1, "it")  # noqa: B023
        assert int(manager.show("NFileDescriptorStore")) >= 2 * (round + 1)
        os.kill(status["pid"], signal.SIGKILL)
        before = status["pid"]
        status = until(
            lambda: (found := manager.status()) and found["pid"] != before and found,  # noqa: B023
            "the next agent",
        )
        assert status["containers"] == round + 1
        assert manager.show("StatusText").startswith(f"{round + 1} container")
    assert [target.wrong() for target in targets] == [[]] * 2
    assert manager.show("ActiveState") == "active"
    until(lambda: (manager.status() or {"containers": 9})["containers"] == 0, "the end")
    # What has ended is not kept: the control socket is all that is left.
    until(lambda: int(manager.show("NFileDescriptorStore")) == 1, "an empty store")
