"""Containers of runc for benchmarks: one static program, and nothing else in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from benchmarks.rounds import ROOT, NotHere

__all__ = ["Bundle", "agent", "compiled"]

PEERS = Path(__file__).parent / "peers"
PATIENCE = 20.0


def compiled(name: str, directory: Path, *options: str) -> Path:
    """Compile one of the C programs in ``peers``."""
    program = directory / name
    compiler = next((found for found in ("cc", "gcc", "clang") if shutil.which(found)), None)
    if compiler is None:
        raise NotHere("there is no C compiler")
    done = subprocess.run(
        [compiler, "-O2", "-Wall", *options, "-o", str(program), str(PEERS / f"{name}.c")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotHere(f"{name}.c does not compile: {done.stderr.strip().splitlines()[:1]}")
    return program


class Bundle:
    """A container that runs one program.

    Args:
        path: The directory to make.
        program: A static program.
        capabilities: What its process has.
        seccomp: The profile, or ``None``.
    """

    def __init__(
        self,
        path: Path,
        program: Path,
        capabilities: list[str],
        seccomp: dict[str, Any] | None = None,
    ) -> None:
        if shutil.which("runc") is None:
            raise NotHere("there is no runc")
        if os.geteuid():
            raise NotHere("only root may do it")
        self._path = path
        for name in ("tmp", "mnt", "proc", "dev", "sys"):
            (path / "rootfs" / name).mkdir(parents=True)
        shutil.copy(program, path / "rootfs" / "program")
        subprocess.run(["runc", "spec", "-b", str(path)], check=True)
        config = json.loads((path / "config.json").read_text())
        config["process"]["terminal"] = False
        config["process"]["capabilities"] = dict.fromkeys(
            ("bounding", "effective", "permitted"), capabilities
        )
        config["root"]["readonly"] = False
        # In memory, so that no disk is measured.
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        if seccomp is not None:
            config["linux"]["seccomp"] = seccomp
        self._config = config
        self._count = 0

    def command(self, *args: str) -> list[str]:
        """The command line that runs the program in a fresh container."""
        self._count += 1
        self._config["process"]["args"] = ["/program", *args]
        (self._path / "config.json").write_text(json.dumps(self._config))
        name = f"bench-{os.getpid()}-{self._path.name}-{self._count}"
        state = str(self._path / "state")
        return ["runc", "--root", state, "run", "-b", str(self._path), name]


@contextmanager
def agent(socket: Path, policies: Path, *args: str, **environ: str) -> Iterator[None]:
    """``unotify agent`` while the block runs."""
    command = [sys.executable, "-m", "unotify.cli", "agent", "--quiet", "--socket", str(socket)]
    with subprocess.Popen(
        [*command, "--policies", str(policies), *args],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            end = monotonic() + PATIENCE
            while not socket.exists():
                if process.poll() is not None or monotonic() > end:
                    process.kill()
                    said = process.stderr.read() if process.stderr else ""
                    raise NotHere(f"the agent does not start: {said.strip()}")
                sleep(0.01)
            yield
        finally:
            process.terminate()
            process.communicate()
