"""Make the virtual environment that the Makefile works in, or say in one sentence why not.

Usage: bootstrap.py VENV [EXTRA]     make VENV, install unotify and the extra's packages into it
       bootstrap.py --check-kernel   exit 0 when this kernel has seccomp user notification

It runs before anything is installed and on Pythons too old for unotify (3.6 and newer), since
its job is to say that they are too old. So: the standard library only, and old syntax.

The environment is made by the interpreter named in PYTHON if that is set; else by the one that
runs this file if it is new enough; else by the newest one that is.
"""

import os
import shutil
import subprocess
import sys
from typing import Callable, List, Mapping, Optional, Sequence, Tuple

Probed = Tuple[Tuple[int, int], List[str]]

OLDEST = (3, 11)
FALLBACKS = ("python3.13", "python3.12", "python3.11")
ACTIONS = "/proc/sys/kernel/seccomp/actions_avail"

CURE_VENV = "apt-get install python3-venv"
CURE_PYTHON = (
    "install one (Debian 12: apt-get install python3 python3-venv) "
    "or name it: make PYTHON=/path/to/python3.11"
)

# Prints the version, and the modules that are missing: Debian has venv's other half, ensurepip,
# in a package of its own.
PROBE = """
import sys
missing = []
for name in ("venv", "ensurepip"):
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
print(sys.version_info[0], sys.version_info[1], *missing)
"""


class Problem(Exception):
    """One sentence that says what is wrong and what to do about it."""


def probe(python: str) -> Optional[Probed]:
    """Return (version, missing modules) of an interpreter, or None where it does not run."""
    try:
        done = subprocess.run(
            [python, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.decode("utf-8", "replace").split()
    if done.returncode != 0 or len(words) < 2:
        return None  # a wrapper that only says "version not installed", say
    return (int(words[0]), int(words[1])), words[2:]


def choose_python(
    environ: Mapping[str, str],
    running: str,
    find: Callable[[str], Optional[str]] = shutil.which,
    look: Callable[[str], Optional[Probed]] = probe,
) -> str:
    """Return the interpreter that the environment is made with.

    Args:
        environ: Where PYTHON may be set.
        running: The interpreter that runs this.
        find: Returns a program's path.
        look: Returns an interpreter's version and missing modules.

    Raises:
        Problem: None fits.
    """
    asked = environ.get("PYTHON")
    if asked:
        found = find(asked)
        candidates = [found] if found else []
    else:
        candidates = [running] + [path for path in map(find, FALLBACKS) if path]
    without_venv = too_old = ""
    for python in candidates:
        answer = look(python)
        if answer is None:
            continue
        version, missing = answer
        if version < OLDEST:
            too_old = too_old or "%s is Python %d.%d" % (python, version[0], version[1])
        elif missing:
            without_venv = without_venv or "%s has no module %s" % (python, missing[0])
        else:
            return python
    if without_venv:
        raise Problem("%s, so no virtual environment can be made: %s" % (without_venv, CURE_VENV))
    if too_old:
        raise Problem(
            "%s, and unotify needs %d.%d or newer: %s"
            % (too_old, OLDEST[0], OLDEST[1], CURE_PYTHON)
        )
    raise Problem("%s does not run: %s" % (asked or running, CURE_PYTHON))


def make_venv(venv: str, python: str) -> None:
    """Make *venv* unless it is there and works."""
    if probe(os.path.join(venv, "bin", "python")) is not None:
        return
    made = subprocess.run(
        [python, "-m", "venv", "--clear", venv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if made.returncode != 0:
        sys.stderr.write(made.stdout.decode("utf-8", "replace"))
        raise Problem("%s could not make %s (its words are above): %s" % (python, venv, CURE_VENV))


def install(venv: str, extra: str, project: str) -> None:
    """Install *project* into *venv* so that its sources are used as they are.

    Raises:
        Problem: pip failed; what it said is in ``VENV/pip.log``.
    """
    what = "%s[%s]" % (project, extra) if extra else project
    log = os.path.join(venv, "pip.log")
    with open(log, "wb") as output:
        command = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--editable", what]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    if done.returncode != 0:
        raise Problem(
            "pip could not install %s (its words are in %s): check that this machine reaches a "
            "package index, or name one with PIP_INDEX_URL" % (what, log)
        )


def kernel_problem(actions: Optional[str], release: str, system: str = "Linux") -> Optional[str]:
    """Return why targets cannot be supervised here, or None.

    Args:
        actions: The content of ``actions_avail``, None where there is no such file.
        release: The kernel's release, for the sentence only: versions are never compared.
        system: The kernel's name.
    """
    if system != "Linux":
        return "seccomp is a part of Linux and this is %s: use a Linux machine" % system
    if actions is None:
        return (
            "Linux %s shows no seccomp filters here: boot Linux 5.0 or newer, built with "
            "CONFIG_SECCOMP_FILTER=y, or leave the sandbox that hides them" % release
        )
    if "user_notif" not in actions.split():
        return "Linux %s has no seccomp user notification: boot Linux 5.0 or newer" % release
    return None


def check_kernel() -> None:
    """Raise Problem when this kernel has no user notification."""
    system, _, release = os.uname()[:3]
    try:
        with open(ACTIONS) as file:
            actions = file.read()
    except OSError:
        actions = None
    problem = kernel_problem(actions, release, system)
    if problem:
        raise Problem(problem)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status."""
    arguments = list(arguments)
    if not arguments or len(arguments) > 2 or arguments[0] in ("-h", "--help"):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        if arguments == ["--check-kernel"]:
            check_kernel()
            return 0
        venv = arguments[0]
        extra = arguments[1] if len(arguments) == 2 else ""
        project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        python = choose_python(os.environ, sys.executable)
        if not os.path.isdir(venv):
            print("making %s with %s" % (venv, python))
        make_venv(venv, python)
        print("installing unotify%s into %s" % ("[%s]" % extra if extra else "", venv))
        install(venv, extra, project)
    except Problem as problem:
        sys.stderr.write("unotify: error: %s\n" % problem)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
