"""The page *Containers in five minutes*: its commands, word for word, by root and by a user."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.conftest import NOBODY
from tests.containers.container_support import Place, program, users_unotify
from tools.run_tests import NOT_SOURCES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "containers.md").read_text()
BLOCKS = re.findall(r"^```(console|text)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
END = "--- the block has ended:"


class Terminal:
    """A shell that stays, as whoever sits at it."""

    def __init__(self, place: Place, directory: Path, *, user: bool) -> None:
        environ = {"HOME": str(directory), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
        # How pip reaches its index.
        environ |= {k: v for k, v in os.environ.items() if "PROXY" in k.upper() or k[:4] == "PIP_"}
        if user:
            environ["PATH"] = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        self._shell = place.begin(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environ,
            umask=0o022,
            start_new_session=True,
            **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if user else {}),
        )

    def types(self, text: str) -> str:
        """What a block says; fails if its last command did."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        # A container would read what is typed next.
        self._shell.stdin.write(f'{{\n{text}\n}} < /dev/null\necho "{END} $?"\n')
        self._shell.stdin.flush()
        said = ""
        for line in self._shell.stdout:
            before, found, status = line.partition(END)
            said += before
            if found:
                assert int(status) == 0 or " run five" in text, said
                return said
        raise AssertionError(f"the shell has ended: {said}")

    def leave(self) -> None:
        """End the shell and what still runs in it."""
        os.killpg(self._shell.pid, signal.SIGKILL)


def commands(block: str) -> tuple[str, str]:
    """Whose a block is, and what to type."""
    prompt = block[0]
    assert prompt in "$#"
    lines = [line.removeprefix(f"{prompt} ") for line in block.splitlines()]
    return prompt, "\n".join(lines)


def pattern(text: str) -> re.Pattern[str]:
    """A transcript, in which ``...`` is anything."""
    return re.compile(re.escape(text).replace(re.escape("..."), ".*?"), re.DOTALL)


def made_before(place: Place, checkout: Path) -> None:
    """Leave nothing to do for make, which takes half a minute."""
    command, options = users_unotify(place)
    script = checkout / ".venv" / "bin" / "unotify"
    script.parent.mkdir(parents=True)
    libraries = options["env"]["PYTHONPATH"]
    script.write_text(f'#!/bin/sh\nPYTHONPATH={libraries} exec {" ".join(command)} "$@"\n')
    script.chmod(0o755)
    (checkout / ".venv" / ".for-run").touch()


def test_the_page(place: Place) -> None:
    """Who types what the page says sees what the page says."""
    for name in ("runc", "crun", "busybox"):
        program(name)
    checkout = place.path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=NOT_SOURCES)
    if not os.environ.get("UNOTIFY_TEST_LONG"):
        made_before(place, checkout)
    for directory, _, names in os.walk(checkout):
        for path in (directory, *(os.path.join(directory, name) for name in names)):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    with ExitStack() as stack:
        terminals = {}
        for prompt, user in (("$", True), ("#", False)):
            terminals[prompt] = Terminal(place, checkout, user=user)
            stack.callback(terminals[prompt].leave)
        said, compared, story = "", 0, ""
        for kind, text in BLOCKS:
            if kind == "console":
                prompt, typed = commands(text)
                said = terminals[prompt].types(typed)
            else:
                assert pattern(text).fullmatch(said), (
                    said + (checkout / "five" / "agent.log").read_text()
                )
                compared += 1
                if not story:
                    # As often as one likes, and by the other runtime.
                    story = text
                    whose, typed = crun()
                    said = terminals[whose].types(typed)
                    assert said == story
        assert compared == 2


def crun() -> tuple[str, str]:
    """Who types what to have the container from crun, as the page says."""
    found = re.search(r'`(crun --root "\$PWD/state" run five)`', PAGE)
    hidden = re.search(r"`(unshare -m sh -c '.*? )crun \.\.\.'`", PAGE)
    assert found
    assert hidden
    if not os.path.ismount("/sys/fs/cgroup/unified"):
        return "$", found[1]
    who = hidden[1].replace("USER", str(NOBODY)).replace("GROUP", str(NOBODY))
    return "#", f"{who}{found[1]}'"
