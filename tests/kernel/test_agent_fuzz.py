"""The agent's sockets under a fuzzer: bytes, splits and descriptors of any kind and order."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernel.agent_support import Running, connect, policy, send, state
from tests.kernel.perform_support import descriptors
from tests.kernel.targets import Target, until
from unotify.abi.structs import RESPONSE
from unotify.oci.sockets import listen

# With UNOTIFY_TEST_LONG there are a hundred times as many connections.
pytestmark = pytest.mark.timeout(3000)

KINDS = ("null", "pipe", "socket", "directory", "listener")


class Fuzzed(Running):
    """An agent with both sockets, and descriptors of each kind to send to it."""

    def __init__(self, directory: Path, target: Target) -> None:
        super().__init__(directory, policies={"default": policy(7)})
        self.lxc = directory / "lxc.sock"
        self.agent.open(listen(str(self.lxc), socket.SOCK_SEQPACKET))
        self.agent.wake()
        self.agent.entrance.reception._patience = 0.1
        self._stack = ExitStack()
        reader, writer = os.pipe()
        left, right = socket.socketpair()
        null = os.open(os.devnull, os.O_RDWR)
        here = os.open("/proc/self", os.O_PATH)
        for fd in (reader, writer, null, here):
            self._stack.callback(os.close, fd)
        self._stack.callback(left.close)
        self._stack.callback(right.close)
        self.fds = dict(zip(KINDS[:4], (null, reader, left.fileno(), here), strict=True))
        self.fds["listener"] = target.listener.fileno()
        self.base = len(descriptors())

    def stop(self) -> None:
        """Stop it."""
        super().stop()
        self._stack.close()

    def settled(self) -> None:
        """Wait until nothing is left of what was sent, but for the listeners that it serves."""
        agent = self.agent
        until(
            lambda: not len(agent.entrance.reception) and not len(agent.entrance.lxc),
            "the end of connections",
        )
        # Those of LXC have lost their connection; the others' target lives on.
        until(lambda: not any(each.id.startswith("lxc-") for each in agent.containers), "the end")
        until(lambda: len(descriptors()) == self.base + agent.containers.listeners, "descriptors")
        assert self._thread.is_alive()


@pytest.fixture(name="fuzzed", scope="module")
def _fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with Target("getppid") as target, Fuzzed(tmp_path_factory.mktemp("fuzz"), target) as fuzzed:
        yield fuzzed


ids = st.sampled_from(["c1", "c2", "", "\0", "../x", "é" * 200])
values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | ids,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
keys = st.sampled_from(["ociVersion", "fds", "pid", "metadata", "state"])


@st.composite
def texts(draw: Any) -> bytes:
    """A state, right or wrong, or something else."""
    whole = state(draw(ids), status=draw(st.sampled_from(["creating", "running", "x"])))
    for key, value in draw(st.dictionaries(keys, values, max_size=2)).items():
        whole[key] = value
    data = json.dumps(whole, indent=draw(st.sampled_from([None, 4]))).encode()
    match draw(st.integers(0, 5)):
        case 0:
            at = draw(st.integers(0, len(data)))
            return data[:at] + draw(st.binary(max_size=8)) + data[at:]
        case 1:
            return data[: draw(st.integers(0, len(data)))]
        case 2:
            return draw(st.binary(max_size=300))
    return data


@st.composite
def sendings(draw: Any) -> list[tuple[bytes, list[str]]]:
    """What is sent in one connection: pieces, each with descriptors."""
    data = draw(texts())
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    kinds = st.lists(st.sampled_from(KINDS), max_size=3)
    usual = [["listener"], *[[]] * (len(pieces) - 1)]
    several = st.lists(kinds, min_size=len(pieces), max_size=len(pieces))
    return list(zip(pieces, draw(st.just(usual) | several), strict=True))


@given(
    connections=st.lists(sendings(), min_size=1, max_size=3),
    order=st.randoms(use_true_random=False),
    end=st.sampled_from(["close", "shut", "wait"]),
)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_runtimes(fuzzed: Fuzzed, connections: Any, order: Any, end: str) -> None:
    """Whatever runtimes send, in whatever pieces, leaves nothing behind and hurts nobody else."""
    # Mixed, but each connection's own in order.
    turns = [i for i, pieces in enumerate(connections) for _ in pieces]
    order.shuffle(turns)
    lines = [iter(pieces) for pieces in connections]
    with ExitStack() as stack:
        opened = [stack.enter_context(connect(fuzzed.path)) for _ in connections]
        for i in turns:
            data, kinds = next(lines[i])
            if data:
                with suppress(OSError):  # it may have been refused already
                    send(opened[i], data, *[fuzzed.fds[kind] for kind in kinds])
        for connected in opened if end != "close" else ():
            with suppress(OSError):
                if end == "shut":
                    connected.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                assert connected.recv(1) == b""
    fuzzed.settled()


HEADER = struct.Struct("=QiiHHH2xQ")


@st.composite
def packets(draw: Any) -> bytes:
    """A packet of LXC's, right or wrong."""
    id = draw(st.sampled_from([1, 2, 1 << 63]))
    cookie = draw(st.binary(max_size=20))
    raw = struct.pack("=QI4xiI", id, draw(st.sampled_from([0, 1, os.getpid()])), 1, 0xC000003E)
    header = HEADER.pack(0, 1, 1, 80, 24, 64, len(cookie))
    data = header + raw.ljust(80, b"\0") + RESPONSE.pack(id, 0, 0, 0) + cookie
    match draw(st.integers(0, 3)):
        case 0:
            at = draw(st.integers(0, len(data) - 1))
            return data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at + 1 :]
        case 1:
            return draw(st.binary(min_size=1, max_size=300))
    return data


@given(
    sent=st.lists(
        st.tuples(packets(), st.lists(st.sampled_from(KINDS), max_size=4)), min_size=1, max_size=4
    )
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_lxc(fuzzed: Fuzzed, sent: list[tuple[bytes, list[str]]]) -> None:
    """Whatever comes to LXC's socket leaves nothing behind and hurts nobody else."""
    with connect(fuzzed.lxc, socket.SOCK_SEQPACKET) as connected:
        for data, kinds in sent:
            with suppress(OSError):
                send(connected, data, *[fuzzed.fds[kind] for kind in kinds])
    fuzzed.settled()


def test_afterwards(fuzzed: Fuzzed) -> None:
    """After all that the agent serves whoever comes."""
    with Target("getppid") as target:
        with connect(fuzzed.path) as connected:
            send(connected, json.dumps(state("last")).encode(), target.listener.fileno())
            target.listener.close()
            assert connected.recv(1) == b""
        target.call("getppid")
        assert target.answer()["ret"] == 7
