"""A target that is killed while a device is made for it leaves nothing of that behind."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from pathlib import Path

from tests.kernel.fake_root_support import playing, python
from tests.kernel.spawn_support import until
from unotify import Instrument
from unotify.calls import Call
from unotify.handlers.ownership import Store
from unotify.protocol import Reply


class _Killer(Instrument):
    """Kills who makes a device, when that is made and before it hears of it."""

    def __init__(self) -> None:
        self.killed = 0

    def deciding(self, call: Call, reply: Reply, handler: str) -> None:
        """The answer is about to be sent."""
        if call.call_name in ("mknod", "mknodat"):
            os.kill(call.caller.pid, signal.SIGKILL)
            until(lambda: not call.caller.is_waiting())
            self.killed += 1


def test_device_of_the_dead(tmp_path: Path) -> None:
    """The file that stood for it is removed, and nothing is remembered of its number (I10)."""
    code = """
        import os, stat
        os.close(os.open("a", os.O_CREAT | os.O_WRONLY))
        os.chown("a", 5, 6)
        os.mknod("device", stat.S_IFCHR, 259)
    """
    killer, store, work = _Killer(), tmp_path / "store", tmp_path / "work"
    work.mkdir()
    with playing(store) as supervisor:
        supervisor.add_instrument(killer)
        done = supervisor.run(python(textwrap.dedent(code)), cwd=work, stdout=subprocess.PIPE)
    assert (done.returncode, killer.killed) == (-signal.SIGKILL, 1)
    assert [path.name for path in work.iterdir()] == ["a"]
    with Store(store) as kept:
        assert len(kept) == 1
