"""Agents that end in each way there is, and the next one that goes on."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.agent_support import bring, policy, ppid
from tests.kernel.cli_support import cli
from tests.kernel.restarting_support import Loaded, agent, directory_of, end_keeper
from tests.kernel.targets import PATIENCE, Target, until


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Iterator[Path]:
    yield directory_of(tmp_path)
    end_keeper(tmp_path / "keeper")


def status(directory: Path) -> dict[str, object]:
    """What the agent says."""
    done = cli("agent", "status", "--control", str(directory / "control"), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_sigkill_under_load_with_a_keeper(directory: Path) -> None:
    """Killed while containers call and begin, started again: no wrong answer, no ENOSYS."""
    options = ("--keeper", str(directory / "keeper"))
    chance = random.Random(7)
    targets: list[Loaded] = []
    decided_again = 0
    rounds = 0
    # Until somebody was killed with a call under way, which is soon.
    while rounds < 3 or (not decided_again and rounds < 8):
        with agent(directory, *options) as command:
            if rounds:
                (said,) = [line for line in command.said if "going on" in line]
                decided_again += int(said.split(",")[1].split()[1])
            targets.append(Loaded(directory / "s", f"c{rounds}", 4, 150))
            time.sleep(chance.uniform(0.05, 0.2))
            command.process.kill()
        rounds += 1
    with agent(directory, *options):
        assert [target.wrong() for target in targets] == [[]] * rounds
    assert decided_again


def test_a_restart_by_sigterm_is_no_end(directory: Path) -> None:
    """What is in flight is finished, the next agent has all containers, and runtimes wait."""
    options = ("--keeper", str(directory / "keeper"))
    (directory / "policies" / "default.toml").write_text(policy(11))
    with Target("getppid") as old, Target("getppid") as new:
        with agent(directory, *options) as command:
            bring(directory / "s", old)
            command.expect("container c1")
            assert ppid(old) == 11
            command.process.terminate()
            assert command.process.wait(PATIENCE) == 0
        old.call("getppid")  # waits for an agent
        (directory / "policies" / "default.toml").write_text(policy(22))
        # Its socket is the one that was: in between, runtimes would have waited in its queue.
        inode = (directory / "s").stat().st_ino
        with agent(directory, *options):
            assert old.answer()["ret"] == 11, "it keeps the version that it began with"
            bring(directory / "s", new, "c2")
            assert (ppid(old), ppid(new)) == (11, 22)
        assert (directory / "s").stat().st_ino == inode


def test_a_container_that_began_with_a_policy_that_is_gone(directory: Path) -> None:
    """Not even its file is there any more: it is served by what it began with, includes too."""
    options = ("--keeper", str(directory / "keeper"), "--control", str(directory / "control"))
    (directory / "policies" / "parts").mkdir()
    (directory / "policies" / "parts" / "more.toml").write_text(policy(11))
    (directory / "policies" / "special.toml").write_text(
        'version = 1\ninclude = ["parts/more.toml"]\ndefault = "allow"\n'
    )
    with Target("getppid") as target:
        with agent(directory, *options) as command:
            bring(directory / "s", target, metadata="special")
            command.expect("policy special")
            command.process.kill()
        (directory / "policies" / "special.toml").unlink()
        (directory / "policies" / "parts" / "more.toml").unlink()
        with agent(directory, *options):
            assert ppid(target) == 11
            (container,) = status(directory)["containers"]  # type: ignore[misc]
            assert (container["id"], container["policy"], container["outdated"]) == (
                "c1",
                "special",
                True,
            )


def test_a_container_that_moved(directory: Path) -> None:
    """One that was given another version while it ran has that one after a restart."""
    options = ("--keeper", str(directory / "keeper"))
    (directory / "policies" / "default.toml").write_text(policy(11))
    (directory / "policies" / "containers.toml").write_text(
        'version = 1\ndefault = "default"\non-reload = "move"\n'
    )
    with Target("getppid") as target:
        with agent(directory, *options) as command:
            bring(directory / "s", target)
            assert ppid(target) == 11
            (directory / "policies" / "default.toml").write_text(policy(22))
            command.process.send_signal(signal.SIGHUP)
            until(lambda: ppid(target) == 22)
            command.process.kill()
        (directory / "policies" / "default.toml").write_text(policy(33))
        with agent(directory, *options) as command:
            assert ppid(target) == 22, "a restart is no reload"
            (directory / "policies" / "default.toml").write_text(policy(44))
            command.process.send_signal(signal.SIGHUP)
            until(lambda: ppid(target) == 44)


def test_an_exec_belongs_to_its_container_after_a_restart(directory: Path) -> None:
    """Listeners of one container are still those of one container, and more may come."""
    options = ("--keeper", str(directory / "keeper"), "--control", str(directory / "control"))
    (directory / "policies" / "default.toml").write_text(policy(11))
    with Target("getppid") as first, Target("getppid") as second, Target("getppid") as third:
        with agent(directory, *options) as command:
            bring(directory / "s", first)
            bring(directory / "s", second, status="running")
            command.expect("one more process")
            command.process.kill()
        (directory / "policies" / "default.toml").write_text(policy(22))
        with agent(directory, *options) as command:
            bring(directory / "s", third, status="running")
            command.expect("one more process")
            assert [ppid(target) for target in (first, second, third)] == [11] * 3
            (container,) = status(directory)["containers"]  # type: ignore[misc]
            assert container["listeners"] == 3


def test_taking_over_from_a_running_agent(directory: Path) -> None:
    """A newer agent asks the old one, which ends; nothing else keeps anything."""
    options = ("--control", str(directory / "control"))
    target = None
    with agent(directory, *options) as old:
        target = Loaded(directory / "s", "c1", 4, 3000)
        old.expect("container c1")
        before = status(directory)["agent"]
        with agent(directory, *options, "--take-over") as new:
            assert any("going on with 1 container," in line for line in new.said)
            assert old.process.wait(PATIENCE) == 0
            after = status(directory)["agent"]
            assert after["pid"] != before["pid"]  # type: ignore[index]
            assert target.wrong() == []
            new.process.terminate()
            assert new.process.wait(PATIENCE) == 0
    assert not (directory / "control").exists()
    assert not (directory / "s").exists()


def test_nobody_to_take_over_from(directory: Path) -> None:
    """The first agent is started with the same words as the next one."""
    options = ("--control", str(directory / "control"), "--take-over")
    with agent(directory, *options) as command:
        assert any("nothing to take over" in line for line in command.said)
    done = cli("agent", "--policies", str(directory / "policies"), "--socket", "s", "--take-over")
    assert done.returncode == 2
    assert "--take-over needs to know from whom" in done.stderr


def test_a_broken_policy_does_not_take_over(directory: Path) -> None:
    """The new agent fails before it has asked: the old one goes on."""
    options = ("--control", str(directory / "control"))
    with agent(directory, *options) as old, Target("getppid") as target:
        bring(directory / "s", target)
        old.expect("container c1")
        (directory / "broken").mkdir()
        (directory / "broken" / "a.toml").write_text("nonsense")
        done = cli(
            *("agent", "--policies", str(directory / "broken"), "--socket", str(directory / "s")),
            *(*options, "--take-over"),
        )
        assert done.returncode == 3
        target.call("getppid", 7)
        assert target.answer()["ret"] == 22


def test_two_agents_cannot_share_a_keeper(directory: Path) -> None:
    """The second one is refused with one sentence."""
    options = ("--keeper", str(directory / "keeper"))
    with agent(directory, *options) as first:
        done = cli(
            *("agent", "--policies", str(directory / "policies"), "--socket", str(directory / "t")),
            *("--handlers", str(directory / "handlers.py"), *options),
        )
        assert done.returncode == 4
        assert f"an agent is here already: process {first.process.pid}" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_anybody_who_keeps_it_the_end_is_the_end(
    directory: Path, number: signal.Signals
) -> None:
    """Whoever lives on gets ENOSYS; the sockets are gone."""
    with agent(directory) as command, Target("getppid") as target:
        bring(directory / "s", target)
        command.expect("container c1")
        command.process.send_signal(number)
        assert command.process.wait(PATIENCE) == 0
        target.call("getppid")
        assert target.answer()["errno"] == 38
        assert not (directory / "s").exists()
