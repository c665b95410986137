"""Run the whole test suite, as `make test` does: python -m tools.run_tests in the project's root.

Several runs of pytest, each with its own summary; the last one is the main run:

1. the fault storms, alone, since they load the machine on purpose;
2. as root only, the kernel tests as an ordinary user, who must be able to run all of them;
3. everything on each interpreter in UNOTIFY_TEST_PYTHONS (names or paths, separated by spaces);
4. everything but the storms, on several cores.

Arguments go to each pytest. UNOTIFY_TEST_LONG=1 asks for storms at full size and many more
examples; UNOTIFY_KERNEL_TESTS=1 makes a kernel test fail where it would skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools import bootstrap

ROOT = Path(__file__).resolve().parent.parent
STORMS = "tests/faults"
AS_USER = ["tests/kernel", "tests/transparency"]
NOBODY = 65534
PARALLEL = ["-n", "auto", "--maxprocesses", "4"]
LONG = ["--timeout=1800", "--override-ini=faulthandler_timeout=1700"]
NO_TESTS = 5  # pytest's exit status
# Where an interpreter may be that everybody can run.
SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
# Not a part of the sources; also what a copy of the tree leaves out.
NOT_SOURCES = shutil.ignore_patterns(
    ".git",
    ".venv*",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "*.egg-info",
    "_build",
    "build",
    "out",
)


def pytest(
    title: str,
    python: str,
    arguments: Sequence[str],
    *,
    user: Path | None = None,
    tree: Path = ROOT,
) -> bool:
    """Run pytest once.

    Args:
        title: What the run is, for the reader.
        python: The interpreter.
        arguments: More arguments.
        user: Run as an ordinary user whose home is this empty directory.
        tree: The sources.

    Returns:
        Whether all is well, no test at all included.
    """
    print(f"\n### {title}", flush=True)
    command = [python, "-m", "pytest", *arguments]
    if os.environ.get("UNOTIFY_TEST_LONG"):
        command += LONG
    if user is None:
        status = subprocess.run(command, cwd=tree, check=False).returncode
    else:
        command += ["-p", "no:cacheprovider", f"--basetemp={user}/pytest"]
        status = run_as_nobody(command, cwd=tree, home=user)
    return status in (0, NO_TESTS)


def user_environ(home: Path) -> dict[str, str]:
    """Return the environment of an ordinary user who can write below *home* only."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("UNOTIFY_", "LC_"))
    }
    if kept.get("UNOTIFY_KERNEL_TESTS") == "1":
        kept["UNOTIFY_KERNEL_TESTS"] = "user"  # those that need root may still skip
    return kept | {
        "HOME": str(home),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(home / "hypothesis"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "LOGNAME": "nobody",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(home),
        "USER": "nobody",
        "XDG_CACHE_HOME": str(home / "cache"),
    }


def run_as_nobody(command: Sequence[str], *, cwd: Path, home: Path, quiet: bool = False) -> int:
    """Run *command* as user and group 65534 with no other group; 126 where that is refused."""
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=user_environ(home),
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stderr=subprocess.DEVNULL if quiet else None,
            check=False,
        ).returncode
    except OSError:  # a directory on the way is private, or the file is
        return 126


def can_run(python: str, code: str, tree: Path, home: Path) -> bool:
    """Whether an ordinary user can run *code* with *python* in *tree*."""
    return run_as_nobody([python, "-c", code], cwd=tree, home=home, quiet=True) == 0


def open_to_all(tree: Path) -> None:
    """Let everybody read *tree*."""
    for directory, _, names in os.walk(tree):
        os.chmod(directory, 0o755)
        for name in names:
            os.chmod(os.path.join(directory, name), 0o755 if name.endswith(".sh") else 0o644)


def as_ordinary_user(python: str, arguments: Sequence[str], scratch: Path) -> bool:
    """Run the kernel tests as user 65534, with an interpreter and sources that it can read.

    Root's own interpreter often lives below a private home, and so may the sources. Then a second
    environment is made from the system's interpreter, and a copy of the sources.
    """
    home = scratch / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    tree = ROOT
    if not can_run(python, "import pytest, unotify.errors", tree, home):
        usable = f"import sys, ensurepip; sys.exit(sys.version_info < {bootstrap.OLDEST})"
        system = next((p for p in SYSTEM_PYTHONS if can_run(p, usable, scratch, home)), None)
        if system is None:
            print(
                "unotify: the kernel tests are not run as an ordinary user, since user nobody "
                "can run no Python >= 3.11 with venv: apt-get install python3 python3-venv",
                file=sys.stderr,
            )
            return not os.environ.get("UNOTIFY_KERNEL_TESTS")
        print(
            f"user nobody cannot run {python}: making a second environment with {system}",
            flush=True,
        )
        # By their full names: subprocess changes the directory before it changes the user.
        looked_at = [str(ROOT / "pyproject.toml"), str(ROOT / "src/unotify/errors.py")]
        readable = f"for name in {looked_at}: open(name).close()"
        venv = ROOT / ".venv-nobody"
        if not can_run(system, readable, ROOT, home):
            print(f"user nobody cannot read {ROOT}: copying the sources", flush=True)
            tree, venv = scratch / "tree", scratch / "venv"
            shutil.copytree(ROOT, tree, ignore=NOT_SOURCES)
            open_to_all(tree)
        python = environment(venv, system, tree)
    return pytest(
        f"the kernel tests as an ordinary user ({python})",
        python,
        [*AS_USER, *PARALLEL, *arguments],
        user=home,
        tree=tree,
    )


def environment(venv: Path, python: str, tree: Path = ROOT) -> str:
    """Make a virtual environment for the tests, unless it is there; return its interpreter."""
    stamp = venv / ".for-test"  # as the Makefile does
    if not stamp.exists() or stamp.stat().st_mtime < (tree / "pyproject.toml").stat().st_mtime:
        bootstrap.make_venv(str(venv), python)
        bootstrap.install(str(venv), "test", str(tree))
        stamp.touch()
    return str(venv / "bin" / "python")


def suite(name: str, python: str, arguments: Sequence[str]) -> list[str]:
    """Run the storms alone and then the rest; return the titles of what failed."""
    failed = []
    if any((ROOT / STORMS).glob("test_*.py")) and not pytest(
        f"storms, {name}", python, [STORMS, *arguments]
    ):
        failed.append(f"storms, {name}")
    if not pytest(
        f"all but the storms, {name}", python, [*PARALLEL, f"--ignore={STORMS}", *arguments]
    ):
        failed.append(f"all but the storms, {name}")
    return failed


def main(arguments: Sequence[str]) -> int:
    """Run everything; return the exit status."""
    os.umask(0o022)  # the environments made here are for other users too
    failed = []
    for name in os.environ.get("UNOTIFY_TEST_PYTHONS", "").split():
        chosen = bootstrap.choose_python({"PYTHON": name}, name)
        python = environment(ROOT / f".venv-{Path(name).name}", chosen)
        failed += suite(Path(name).name, python, arguments)
    if os.geteuid() == 0:
        with tempfile.TemporaryDirectory(prefix="unotify-tests-") as scratch:
            os.chmod(scratch, 0o755)
            if not as_ordinary_user(sys.executable, arguments, Path(scratch)):
                failed.append("the kernel tests as an ordinary user")
    failed += suite("this interpreter", sys.executable, arguments)
    if failed:
        print(f"unotify: failed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except bootstrap.Problem as problem:
        sys.exit(f"unotify: error: {problem}")
