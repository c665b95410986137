"""What surrounds an agent: its status, metrics, probes and audit log, of real calls."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kernel.agent_support import bring, ppid
from tests.kernel.cli_support import cli
from tests.kernel.targets import PATIENCE, Target, until
from unotify.cli.agent_status import show
from unotify.errors import KernelError
from unotify.oci import Agent
from unotify.oci.bundles import PeerError
from unotify.oci.control import ask
from unotify.oci.outfit import Options, Outfit
from unotify.oci.systemd import Notifier
from unotify.oci.web import parse_address

POLICY = """version = 1
default = "allow"
[[rule]]
name = "known"
calls = ["getppid"]
do = { return = 7 }
[[rule]]
calls = ["chmod", "fchmodat", "fchmodat2"]
where = 'path == "/secret"'
do = { fail = "EROFS" }
[[rule]]
calls = ["chmod", "fchmodat", "fchmodat2"]
do = { fail = "EPERM" }
"""


_LABELS = ("call", "container", "policy", "outcome", "le", "result", "version")


class Dressed:
    """An agent with all that surrounds it, in a thread."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        policies = directory / "policies"
        policies.mkdir()
        (policies / "default.toml").write_text(POLICY)
        given = {
            "control": directory / "control",
            "metrics": str(directory / "web"),
            "audit": str(directory / "audit.jsonl"),
        } | options
        self.agent = Agent(policies)
        self.outfit = Outfit(
            self.agent,
            Options(**given),
            notifier=Notifier(None),
            passed=[],
            paths={socket.SOCK_STREAM: [str(directory / "s")]},
        )
        self.agent.open(*self.outfit.listening)
        self._thread = threading.Thread(target=self.agent.run)
        self._thread.start()
        until(lambda: self.agent.accepting, "the agent")

    def page(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """What its HTTP server says."""
        connection = http.client.HTTPConnection("unotify")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.directory / "web"))
        connection.request(method, path)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def metrics(self) -> dict[tuple[str, ...], float]:
        """All samples: name and values of labels."""
        text = self.page("/metrics")[1].decode()
        return {
            (sample.name, *(sample.labels[key] for key in _LABELS if key in sample.labels)): (
                sample.value
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def audit(self) -> list[dict[str, Any]]:
        """The lines of its audit log."""
        return [
            json.loads(line) for line in (self.directory / "audit.jsonl").read_text().splitlines()
        ]

    def close(self) -> None:
        """Stop it."""
        self.agent.ask_stop()
        self._thread.join(PATIENCE)
        self.outfit.end()
        self.outfit.__exit__(None, None, None)
        self.agent.close()


@pytest.fixture(name="dressed")
def _dressed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Dressed]:
    dressed = Dressed(tmp_path, **getattr(request, "param", {}))
    yield dressed
    dressed.close()


def chmod(target: Target, path: bytes) -> int:
    """The errno of a chmod in *target*."""
    target.call("chmod", target.text(path), 0o600)
    return int(target.answer()["errno"])


def calls_of(target: Target, dressed: Dressed) -> None:
    """Three calls, of which two fail; until they are counted, which is after their answer."""
    accounts = dressed.outfit.accounts
    assert accounts is not None
    before = sum(accounts.outcomes().values())
    assert ppid(target) == 7
    assert (chmod(target, b"/secret"), chmod(target, b"/other")) == (30, 1)
    until(lambda: sum(accounts.outcomes().values()) == before + 3, "the count")


def test_status_tells_containers_policies_and_calls(
    dressed: Dressed, capsys: pytest.CaptureFixture[str]
) -> None:
    """For programs as one object, for people as tables; both tell the same counts."""
    with Target("getppid", "chmod") as target:
        bring(dressed.directory / "s", target, "web-1", metadata="default")
        calls_of(target, dressed)
        assert show(dressed.directory / "control", as_json=True) == 0
        found = json.loads(capsys.readouterr().out)
        assert show(dressed.directory / "control", as_json=False) == 0
        told = capsys.readouterr().out
    assert found["agent"]["accepting"] is True
    assert found["agent"]["pid"] == os.getpid()
    (container,) = found["containers"]
    assert (container["id"], container["policy"], container["listeners"]) == ("web-1", "default", 1)
    assert container["calls"] == {"answered": 1, "failed": 2}
    calls = {each["name"]: each for each in found["calls"]}
    assert calls["getppid"]["calls"] == {"answered": 1}
    assert calls["chmod"]["calls"] == {"failed": 2}
    assert 0 < calls["chmod"]["p50_microseconds"] <= calls["chmod"]["p99_microseconds"]
    (policy,) = [each for each in found["policies"] if each["name"] == "default"]
    assert (policy["containers"], policy["answered"]) == (1, 3)
    for expected in ("1 container with 1 listener, ", "web-1", "chmod", "takes containers"):
        assert expected in told


def test_what_containers_call_themselves_is_text(
    dressed: Dressed, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id is a container's own words, and no markup."""
    with Target("getppid") as target:
        bring(dressed.directory / "s", target, "[red]evil[/red]")
        until(lambda: len(dressed.agent.containers), "the container")
        show(dressed.directory / "control", as_json=False)
    assert "[red]evil[/red]" in capsys.readouterr().out


def test_metrics_have_each_call_and_container(dressed: Dressed) -> None:
    """Counters by outcome, a histogram by call; what has ended goes to the others."""
    with Target("getppid", "chmod") as target:
        bring(dressed.directory / "s", target, "web-1")
        until(lambda: len(dressed.agent.containers), "the container")
        assert dressed.outfit.accounts is not None
        dressed.outfit.accounts.beat()
        calls_of(target, dressed)
        found = dressed.metrics()
        assert found["unotify_calls_total", "chmod", "default", "failed"] == 2
        assert found["unotify_container_calls_total", "web-1", "failed"] == 2
        assert found["unotify_container_calls_total", "(others)", "failed"] == 0
        assert found["unotify_call_seconds_count", "chmod"] == 2
        assert found["unotify_call_seconds_bucket", "chmod", "+Inf"] == 2
        assert 0 < found["unotify_call_seconds_sum", "chmod"] < PATIENCE
        assert found["unotify_containers",] == 1
    until(lambda: not len(dressed.agent.containers), "its end")
    dressed.outfit.accounts.beat()
    after = dressed.metrics()
    assert ("unotify_container_calls_total", "web-1", "failed") not in after
    assert after["unotify_calls_total", "chmod", "default", "failed"] == 2
    assert after["unotify_containers",] == 0


@pytest.mark.parametrize("dressed", [{"named": 1}], indirect=True)
def test_the_number_of_series_is_bounded(dressed: Dressed) -> None:
    """Containers beyond the limit count under one name, which never falls."""
    accounts = dressed.outfit.accounts
    assert accounts is not None
    with Target("getppid") as first:
        bring(dressed.directory / "s", first, "one")
        until(lambda: len(dressed.agent.containers) == 1, "the first")
        accounts.beat()
        with Target("getppid") as second:
            bring(dressed.directory / "s", second, "two")
            until(lambda: len(dressed.agent.containers) == 2, "the second")
            assert (ppid(first), ppid(second), ppid(second)) == (7, 7, 7)
            until(lambda: sum(accounts.outcomes().values()) == 3, "the count")
            assert {name: sum(counts.values()) for name, counts in accounts.named().items()} == {
                "one": 1,
                "(others)": 2,
            }
        until(lambda: len(dressed.agent.containers) == 1, "the end of the second")
        accounts.beat()
        assert sum(accounts.named()["(others)"].values()) == 2
    names = {key[1] for key in dressed.metrics() if key[0] == "unotify_container_calls_total"}
    assert names <= {"one", "(others)"}


def test_reloads_are_counted_and_told(dressed: Dressed) -> None:
    """The good and the bad; the command's exit code is that of a wrong policy."""
    file = dressed.directory / "policies" / "default.toml"
    control = str(dressed.directory / "control")
    assert ask(Path(control), "reload") == [{"done": True, "loaded": True}]
    file.write_text("nonsense")
    assert ask(Path(control), "reload") == [{"done": True, "loaded": False}]
    found = dressed.metrics()
    assert found["unotify_reloads_total", "loaded"] >= 1
    assert found["unotify_reloads_total", "failed"] >= 1
    done = cli("agent", "reload", "--control", control)
    assert done.returncode == 3
    assert "the policies stay as they were" in done.stderr


def test_probes(dressed: Dressed) -> None:
    """Alive as long as it looks around, ready as long as it takes containers, GET alone."""
    assert dressed.page("/healthz") == (200, b"alive\n")
    assert dressed.page("/readyz") == (200, b"ready\n")
    assert dressed.page("/other")[0] == 404
    assert dressed.page("/metrics", "POST")[0] == 501
    dressed.agent.beaten -= 1000
    dressed.agent.leaving = True
    assert dressed.page("/readyz")[0] == 503
    status, said = dressed.page("/healthz")
    # It may have looked around just now.
    assert (status, said) == (200, b"alive\n") or said.startswith(b"the agent has done nothing")
    dressed.agent.leaving = False
    assert stat.S_IMODE((dressed.directory / "web").stat().st_mode) == 0o600


def test_the_audit_log_has_decoded_arguments_and_the_container(dressed: Dressed) -> None:
    """One line for each call: who, what with which arguments, by which rule, and the answer."""
    with Target("getppid", "chmod") as target:
        bring(dressed.directory / "s", target, "web-1")
        calls_of(target, dressed)
        until(lambda: len(dressed.audit()) == 3, "three lines")
    known, secret, other = dressed.audit()
    assert (known["container"], known["call"], known["reply"]) == (
        "web-1",
        "getppid",
        {"return": 7},
    )
    assert known["rule"] == "known"
    assert secret["args"] == {"path": "/secret", "mode": 0o600}
    assert secret["reply"] == {"fail": "EROFS"}
    assert other["args"]["path"] == "/other"
    assert other["container_policy"] == "default"
    assert stat.S_IMODE((dressed.directory / "audit.jsonl").stat().st_mode) == 0o600


def test_the_audit_log_can_be_rotated(dressed: Dressed) -> None:
    """It is opened again when the policies are loaded."""
    log = dressed.directory / "audit.jsonl"
    with Target("getppid") as target:
        bring(dressed.directory / "s", target)
        ppid(target)
        until(lambda: len(dressed.audit()) == 1, "a line")
        log.rename(log.with_suffix(".1"))
        ask(dressed.directory / "control", "reload")
        ppid(target)
        until(lambda: len(dressed.audit()) == 1, "a line in the new file")
    assert len(log.with_suffix(".1").read_text().splitlines()) == 1


@pytest.mark.parametrize("question", ["what", ""])
def test_other_questions_are_refused(dressed: Dressed, question: str) -> None:
    """With a sentence, and the next one is answered."""
    with pytest.raises(PeerError, match="no such question"):
        ask(dressed.directory / "control", question)
    assert ask(dressed.directory / "control", "status")[-1] == {"done": True}


def test_strangers_may_not_ask(dressed: Dressed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is neither the agent's user nor root is hung up on."""
    uid = os.geteuid()
    real, stranger = ask, (1, uid + 1)
    monkeypatch.setattr("unotify.oci.bundles.peer_of", lambda sock: stranger)
    with pytest.raises(PeerError, match="runs as user"):
        real(dressed.directory / "control", "status")
    # And the other way round: the agent looks too.
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(dressed.directory / "control"))
        assert sock.recv(100) == b""


def test_nobody_to_ask(tmp_path: Path) -> None:
    """One sentence, and what to look at."""
    done = cli("agent", "status", "--control", str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert f"no agent is at {tmp_path / 'nothing'}" in done.stderr


def test_an_address_that_is_in_use(tmp_path: Path) -> None:
    """It is told before anything is served, and nothing stays behind."""
    (tmp_path / "policies").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = parse_address(f"127.0.0.1:{taken.getsockname()[1]}")
        agent = Agent(tmp_path / "policies")
        options = Options(metrics=address, control=tmp_path / "control")
        with pytest.raises(KernelError, match="cannot listen"):
            Outfit(agent, options, notifier=Notifier(None), passed=[])
        agent.close()
    assert not (tmp_path / "control").exists()


def test_metrics_over_tcp(tmp_path: Path) -> None:
    """At a port that the kernel chooses, and at the other family too."""
    (tmp_path / "policies").mkdir()
    for text in ("127.0.0.1:0", "[::1]:0"):
        agent = Agent(tmp_path / "policies")
        options = Options(metrics=parse_address(text))
        with Outfit(agent, options, notifier=Notifier(None), passed=[]) as outfit:
            assert outfit.web is not None
            host = text.removesuffix(":0").strip("[]")
            connection = http.client.HTTPConnection(host, outfit.web.port)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert (answer.status, b"unotify_info" in answer.read()) == (200, True)
            connection.close()
        agent.close()
