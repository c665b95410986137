"""House rules that no linter knows."""

import ast
import importlib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import unotify.cli

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "unotify"
TEXT = {".py", ".pyi", ".md", ".toml", ".txt", ".sh", ".c", ".cfg", ""}
NOT_OURS = re.compile(
    r"\.git$|\.venv|.*_cache$|.*\.egg-info$|__pycache__$|_build$|_generated$|build$|dist$|out$"
)
CITATION = re.compile(r"\(([ABCEFIMNPRSVW]\d{1,2}a?(?:(?:, |-)[A-Z]\d{1,2}a?)*)\)")


def files() -> Iterator[Path]:
    """All text files that belong to the project; without git, which not everybody has."""
    for directory, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not NOT_OURS.match(name) and name != ".hypothesis"]
        yield from (Path(directory, name) for name in names if Path(name).suffix in TEXT)


def modules() -> list[Path]:
    """All modules of the package but generated tables."""
    return [path for path in sorted(SOURCES.rglob("*.py")) if "do not edit" not in head(path)]


def head(path: Path) -> str:
    """The first line."""
    with path.open(encoding="utf-8") as file:
        return file.readline()


def dotted(path: Path) -> str:
    """The name that a module is imported by."""
    parts = path.relative_to(SOURCES.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_all_is_there_and_true(path: Path) -> None:
    """Each module has an ``__all__`` without doubles, and each name in it exists."""
    if path.name == "__main__.py":
        pytest.skip("a program")
    module = importlib.import_module(dotted(path))
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_modules_are_small() -> None:
    """No hand-written module has more than 600 lines (docs/design.md, section 2)."""
    lines = {dotted(path): len(path.read_text().splitlines()) for path in modules()}
    assert {name: count for name, count in lines.items() if count > 600} == {}


def test_every_test_says_what_it_holds() -> None:
    """Each test function begins with a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_unit_tests_mirror_the_sources() -> None:
    """``tests/unit/ROOM/test_MODULE.py``, or ``test_MODULE_topic.py``, belongs to a module."""
    unit = ROOT / "tests" / "unit"
    orphans = []
    for test in sorted(unit.rglob("test_*.py")):
        room = test.parent.relative_to(unit)
        top = room.parts[0] if room.parts else ""
        home = ROOT / top if top in ("tools", "benchmarks") else SOURCES / room
        modules_there = {
            path.stem.lstrip("_") for path in home.glob("*") if path.suffix in ("", ".py")
        }
        words = test.stem.removeprefix("test_").split("_")
        if not any("_".join(words[:n]) in modules_there for n in range(1, len(words) + 1)):
            orphans.append(str(test.relative_to(ROOT)))
    assert orphans == []


def test_examples_are_installed() -> None:
    """All programs and policies of the examples come with an installed unotify."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["data-files"]
    installed = {path for names in listed.values() for name in names for path in ROOT.glob(name)}
    examples = ROOT / "examples"
    there = {*examples.glob("*.py"), *examples.glob("policies/*.py")}
    there |= set(examples.glob("policies/*.toml"))
    assert len(there) > 15
    assert there == installed


def test_no_path_of_one_machine() -> None:
    """No file names a directory that exists on the author's machine alone."""
    private = re.compile(r"(?<![\w>}])/(?:root|work|home)/\w")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if private.search(line)
    ]
    assert found == []


def test_readme_lists_each_command() -> None:
    """The README has a line for each command, and none for a command that is not there."""
    listed = re.findall(r"^\| `unotify (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(unotify.cli.COMMANDS)


def test_design_names_each_room() -> None:
    """docs/design.md has a line for each module and package right below the package."""
    names = {path.name for path in SOURCES.iterdir() if path.suffix == ".py"} | {
        f"{path.name}/" for path in SOURCES.iterdir() if (path / "__init__.py").exists()
    }
    page = (ROOT / "docs" / "design.md").read_text()
    assert [name for name in sorted(names) if f"\n  {name} " not in page] == []


def test_cited_facts_exist() -> None:
    """A fact that code or a test cites, as in (N8) or "N8: ...", is in docs/kernel-facts.md."""
    page = (ROOT / "docs" / "kernel-facts.md").read_text()
    known = set(re.findall(r"^- \*\*([A-Z]\d+a?)\*\*", page, re.MULTILINE))
    assert len(known) > 100
    unknown = set()
    for path in [*modules(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").glob("*.md")]:
        for found in CITATION.finditer(path.read_text()):
            cited = re.split(", |-", found[1])
            unknown |= {f"{path.relative_to(ROOT)}: {fact}" for fact in cited if fact not in known}
    assert unknown == set()


def test_makefile_help_lists_each_target() -> None:
    """Plain `make` names each target that a person calls."""
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    explained = re.findall(r"^([a-z-]+):[^#\n]*## \S", text, re.MULTILINE)
    assert set(explained) == set(phony[1].split()) - {"kernel"}
