"""Play all scenarios on the simulated and on the running kernel, and write what came of it.

Markdown tables: what each statement of ``docs/kernel-facts.md`` is proved by on either kernel, the
same for the kernel's own selftests, and the rules of the model. Where no listener can be
installed, the running kernel's column says so.

Usage: python -m tools.draw_conformance DIRECTORY
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.scenarios import installs, life, looks, signals_and_descriptors, supervisors
from tests.scenarios.language import SCENARIOS, Missing, Scenario, Stage, of_facts
from tests.scenarios.outside import OUTSIDE
from tests.scenarios.real import RealStage
from tests.scenarios.selftests import SELFTESTS
from tests.scenarios.simulated import SimulatedStage
from unotify.testing.facility.rules import RULES

ROOT = Path(__file__).resolve().parent.parent
MODULES = (installs, life, looks, signals_and_descriptors, supervisors)
GROUPS = "NVCERFSIAPBMW"
STATEMENT = re.compile(rf"^- \*\*([{GROUPS}]\d+a?)\*\* (.*)$", re.MULTILINE)
DOCSTRING = re.compile(r'"""((?:[A-Z]\d+a?(?:, | to |-| and )?)+):')
NUMBER = re.compile(rf"[{GROUPS}]\d+a?")
WORDS = 14  # of a statement in the table
FACILITY = ROOT / "tests/unit/testing"
REAL = ("kernel", "privileged", "faults", "transparency")


def played(make: Callable[[], Any], scenarios: Iterable[Scenario]) -> dict[str, str]:
    """What came of each scenario: nothing if all is well, or why not."""
    found = {}
    for one in scenarios:
        stage: Stage = make()
        if one.root and os.geteuid() and stage.real:
            stage.close()
            found[one.name] = "needs root"
            continue
        try:
            one.play(stage)
            found[one.name] = ""
        except Missing as error:
            found[one.name] = str(error)
        except Exception as error:
            found[one.name] = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            stage.close()
    return found


def can_listen() -> bool:
    """Whether a listener can be installed here."""
    try:
        from unotify.kernel.probe import probe

        return probe().install_error is None
    except Exception:
        return False


def statements() -> dict[str, str]:
    """The beginning of each statement, by number."""
    text = (ROOT / "docs/kernel-facts.md").read_text(encoding="utf-8")
    return {number: shortened(words) for number, words in STATEMENT.findall(text)}


def shortened(text: str) -> str:
    """The first words, without what would break a table's cell."""
    words = re.sub(r"\[[A-Z]\]|\*\*|\||`", "", text).split()
    return " ".join(words[:WORDS]) + (" …" if len(words) > WORDS else "")


def named_in(directories: Iterable[Path]) -> dict[str, set[str]]:
    """Test files whose docstrings begin with the number of a statement, by number."""
    found: dict[str, set[str]] = {}
    for directory in directories:
        for path in sorted(directory.glob("test_*.py")):
            for numbers in DOCSTRING.findall(path.read_text(encoding="utf-8")):
                for number in NUMBER.findall(numbers):
                    found.setdefault(number, set()).add(path.stem)
    return found


def cell(
    names: list[str], results: dict[str, str] | None, tests: set[str], outside: str = ""
) -> str:
    """What one kernel shows of one statement."""
    parts = [outside] if outside else []
    if names and results is None:
        parts.append("not run here")
    elif names and results is not None:
        wrong = [f"{name}: {results[name]}" for name in names if results[name]]
        right = sum(not results[name] for name in names)
        parts += [f"✓ {right}"] if right else []
        parts += wrong
    parts += [f"`{test}`" for test in sorted(tests)]
    return ", ".join(parts) or "-"


def table(simulated: dict[str, str], real: dict[str, str] | None) -> str:
    """The table of all statements."""
    version = f"Linux {platform.release().partition('-')[0]}" if real is not None else "Linux"
    scenarios = of_facts(SCENARIOS.values())
    models = named_in([FACILITY])
    kernels = named_in(ROOT / "tests" / room for room in REAL)
    lines = [f"| statement | | simulated | {version} |", "|---|---|---|---|"]
    for number, words in statements().items():
        names = scenarios.get(number, [])
        link = f"[{number}](kernel-facts.md#{number.lower()})"
        ours = cell(names, simulated, models.get(number, set()))
        theirs = cell(names, real, kernels.get(number, set()), OUTSIDE.get(number, ""))
        lines.append(f"| {link} | {words} | {ours} | {theirs} |")
    return "\n".join(lines) + "\n"


def selftests(simulated: dict[str, str], real: dict[str, str] | None) -> str:
    """The table of the kernel's own tests."""
    lines = ["| selftest | scenarios | simulated | Linux |", "|---|---|---|---|"]
    for name, scenarios in SELFTESTS.items():
        ours, theirs = (cell(list(scenarios), results, set()) for results in (simulated, real))
        titles = ", ".join(scenario.replace("_", " ") for scenario in scenarios)
        lines.append(f"| `{name}` | {titles} | {ours} | {theirs} |")
    return "\n".join(lines) + "\n"


def rules() -> str:
    """The table of the model's rules."""
    lines = ["| rule | states | |", "|---|---|---|"]
    for name, rule in sorted(RULES.items(), key=lambda item: (item[1].facts, item[0])):
        lines.append(f"| `{name}` | {', '.join(rule.facts)} | {rule.text} |")
    return "\n".join(lines) + "\n"


def write(directory: Path) -> None:
    """Write all tables."""
    directory.mkdir(parents=True, exist_ok=True)
    simulated = played(SimulatedStage, SCENARIOS.values())
    real = played(RealStage, SCENARIOS.values()) if can_listen() else None
    (directory / "conformance.md").write_text(table(simulated, real), encoding="utf-8")
    (directory / "selftests.md").write_text(selftests(simulated, real), encoding="utf-8")
    (directory / "rules.md").write_text(rules(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
