"""Poll (E1 to E8) and sharing or closing a listener (R1 to R8)."""

from __future__ import annotations

import errno
import os
import select
import threading

from tests.kernel.targets import Target, nr, until
from unotify.errors import KernelError
from unotify.kernel.listener import LinuxListener

BOTH = select.POLLIN | select.POLLOUT


def test_in_means_unreceived_and_out_means_unanswered() -> None:
    """E1, E2: nothing; IN; OUT as long as it is unanswered; both; nothing."""
    with Target("getppid") as target:
        assert target.events(0) == 0
        target.call("getppid", thread=True)
        assert target.events() == select.POLLIN
        first = target.receive()
        assert target.events() == select.POLLOUT
        target.call("getppid", thread=True)
        until(lambda: target.events(0) == BOTH)
        second = target.receive()
        target.send(first)
        target.send(second)
        assert target.events(0) == 0


def test_the_end_of_the_last_user_shows_though_nobody_waited_for_it() -> None:
    """E3, E4: POLLHUP comes at exit, while the target is still a zombie."""
    with Target("getppid") as target:
        target.start("exit")
        poller = select.poll()
        poller.register(target.listener.fileno(), 0)
        assert [(target.listener.fileno(), select.POLLHUP)] == poller.poll(20000)
        until(lambda: target.state() == "Z")


def test_a_surviving_grandchild_holds_the_hangup_off() -> None:
    """E5, R1: everybody who inherited the filter is a user, and notifies on the same listener."""
    with Target("getppid") as target:
        target.ask("fork", nr=nr("getppid"))
        exchange = target.receive()
        target.start("exit")
        target.process.wait()
        assert not target.events(0) & select.POLLHUP
        target.send(exchange)
        until(lambda: target.events(0) & select.POLLHUP)


def test_after_the_hangup_nothing_is_there() -> None:
    """E6: RECV, SEND and ID_VALID say at once that nobody is there."""
    with Target("getppid") as target:
        target.call("getppid")
        exchange = target.receive()
        target.process.kill()
        until(lambda: target.events(0) & select.POLLHUP)
        assert target.listener.receive_into(bytearray(80)) is False
        assert not target.send(exchange)
        assert not target.listener.is_valid(exchange.id)


def test_a_blocked_receiver_is_let_go_when_the_last_user_exits() -> None:
    """E6: RECV that already blocks ends with ENOENT."""
    with Target("getppid") as target:
        results: list[bool] = []
        tids: list[int] = []

        def receive() -> None:
            tids.append(threading.get_native_id())
            results.append(target.listener.receive_into(bytearray(80)))

        thread = threading.Thread(target=receive)
        thread.start()
        until(lambda: (tids and "recv" in _wchan(tids[0])) or (tids and _state(tids[0]) == "S"))
        target.start("exit")
        thread.join(20)
        assert results == [False]


def test_one_edge_for_each_arrival() -> None:
    """E8: edge-triggered epoll reports an arrival once, however much is left to receive."""
    with Target("getppid") as target, select.epoll() as epoll:
        epoll.register(target.listener.fileno(), select.EPOLLIN | select.EPOLLET)
        for _ in range(3):
            target.call("getppid", thread=True)
        until(lambda: _waiting(target) == 3)
        assert len(epoll.poll(5)) == 1
        exchanges = [target.receive()]
        assert epoll.poll(0) == []
        exchanges += [target.receive(), target.receive()]
        for exchange in exchanges:
            target.send(exchange)


def test_each_notification_is_delivered_once_to_several_readers() -> None:
    """R2: three threads that receive, twelve calls, no double and no loss."""
    with Target("getppid") as target:
        received: list[int] = []
        lock = threading.Lock()

        def read() -> None:
            buffer = bytearray(80)
            while target.listener.receive_into(buffer):
                from unotify.protocol import Exchange

                exchange = Exchange(buffer)
                with lock:
                    received.append(exchange.id)
                target.send(exchange, value=1)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(12):
            target.call("getppid", thread=True)
        assert [target.answer()["ret"] for _ in range(12)] == [1] * 12
        target.start("exit")
        for thread in threads:
            thread.join(20)
        assert 12 == len(set(received)) == len(received)


def test_only_the_last_close_counts_and_then_everybody_gets_enosys() -> None:
    """R3, R4: a copy keeps it alive; after it, waiting calls and later ones are ENOSYS."""
    with Target("getppid") as target:
        copy = LinuxListener(os.dup(target.listener.fileno()))
        target.call("getppid", thread=True, tag="received")
        target.receive()
        target.call("getppid", thread=True, tag="unreceived")
        until(target.listener.pending)
        target.listener.close()
        assert copy.pending()
        copy.close()
        answers = [target.answer() for _ in range(2)]
        answers.append(target.ask("call", nr=nr("getppid")))
        assert [(a["ret"], a["errno"]) for a in answers] == [(-1, errno.ENOSYS)] * 3


def test_the_target_has_no_copy_of_its_listener() -> None:
    """R5: nothing in its descriptor table is a listener."""
    with Target("getppid") as target:
        links = target.ask("fds")["fds"].values()
        assert not [link for link in links if "seccomp" in link]


def test_a_close_does_not_wake_a_blocked_receiver() -> None:
    """R6: the reader stays until something comes, and only then the file goes away."""
    with Target("getppid") as target:
        fd = target.listener.fileno()
        outcome: list[object] = []
        tids: list[int] = []

        def read() -> None:
            tids.append(threading.get_native_id())
            try:
                outcome.append(target.listener.receive_into(bytearray(80)))
            except KernelError as error:
                outcome.append(error.errno)

        thread = threading.Thread(target=read)
        thread.start()
        until(lambda: tids and _state(tids[0]) == "S")
        target.listener.close()
        assert thread.is_alive()
        assert fd >= 0
        target.call("getppid")
        thread.join(20)
        assert len(outcome) == 1
        assert target.answer()["errno"] == errno.ENOSYS


def _waiting(target: Target) -> int:
    tids = os.listdir(f"/proc/{target.pid}/task")
    return sum(target.wchan(int(tid)) == "seccomp_do_user_notification" for tid in tids)


def _wchan(tid: int) -> str:
    with open(f"/proc/self/task/{tid}/wchan") as file:
        return file.read()


def _state(tid: int) -> str:
    with open(f"/proc/self/task/{tid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
