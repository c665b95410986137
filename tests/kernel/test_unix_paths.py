"""Paths of unix sockets: what they name is asked as the target would, and is what is acted on."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel.acting_support import HEAD, PYTHON, rule_of, supervised
from tests.kernel.perform_support import attempt
from tests.kernel.spawn_support import PATIENCE
from unotify import Supervisor
from unotify.calls import Bind, Connect, Sendto
from unotify.calls.lookups import spot_of

CALLS = "connect bind sendto"
NAMESPACE = ("unshare", "-Ur")


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    """Two directories, with links from the first into the second."""
    place = tmp_path.resolve()
    for name in ("open", "closed"):
        (place / name).mkdir()
    (place / "open/link").symlink_to("../closed/socket")
    (place / "open/dir").symlink_to(place / "closed")
    (place / "open/back").symlink_to("socket")
    return place


@pytest.fixture(name="servers")
def _servers(place: Path) -> Iterator[dict[str, socket.socket]]:
    """A socket in each of them."""
    with ExitStack() as stack:
        servers = {}
        for name in ("open", "closed"):
            server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            server.bind(str(place / name / "socket"))
            server.settimeout(PATIENCE)
            servers[name] = server
        yield servers


_TRIED = """
import errno, socket, sys
closed, abstract, port = sys.argv[1:]
def tried(family, act, *args):
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        try:
            getattr(made, act)(*args)
        except OSError as error:
            return errno.errorcode[error.errno]
        return "done"
for name in ("socket", "back", "link", "dir/socket", "../closed/socket", closed, "none",
             "socket/x"):
    print(name.replace(closed, "CLOSED"), tried(socket.AF_UNIX, "connect", name),
          tried(socket.AF_UNIX, "sendto", b"hello", name))
for name in ("new", "dir/new", "link", "./dir/../new2", "dir/none/x"):
    print("bind", name, tried(socket.AF_UNIX, "bind", name))
for address in (chr(0) + abstract, ""):
    print(tried(socket.AF_UNIX, "connect", address))
print(tried(socket.AF_UNIX, "bind", ""), tried(socket.AF_INET, "connect", ("127.0.0.1", int(port))))
"""

_FOUND = """
socket done done
back done done
link EACCES EACCES
dir/socket EACCES EACCES
../closed/socket EACCES EACCES
CLOSED EACCES EACCES
none ENOENT ENOENT
socket/x ENOTDIR ENOTDIR
bind new done
bind dir/new EACCES
bind link EADDRINUSE
bind ./dir/../new2 done
bind dir/none/x ENOENT
done
EINVAL
done done
"""


@pytest.mark.parametrize("wrapper", [(), NAMESPACE], ids=["here", "namespace"])
def test_a_rule_sees_where_links_lead(
    place: Path, servers: dict[str, socket.socket], wrapper: tuple[str, ...]
) -> None:
    """`resolved(address.path)`: links, dots and relative names; other addresses have no path."""
    if wrapper and (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode
    ):
        missing("there are no user namespaces here")
    closed = f'under(resolved(address.path), "{place}/closed")'
    policy = HEAD + rule_of('{ fail = "EACCES" }', CALLS, closed) + rule_of('"perform"', CALLS)
    abstract = f"unotify-{place.name}-{id(place)}"
    with ExitStack() as stack:
        supervisor, notes = stack.enter_context(supervised(policy))
        other = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        other.bind(f"\0{abstract}")
        web = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        web.bind(("127.0.0.1", 0))
        args = (place / "closed/socket", abstract, web.getsockname()[1])
        done = supervisor.run(
            [*wrapper, *PYTHON, "-c", _TRIED, *map(str, args)],
            cwd=place / "open",
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
        )
        assert (done.stderr, done.stdout.strip()) == ("", _FOUND.strip())
        assert notes.faults == []
    assert [servers["open"].recv(9) for _ in range(2)] == [b"hello"] * 2
    made = {str(path.relative_to(place)) for path in place.rglob("new*")}
    assert made == {"open/new", "new2"}


_ACTS = {
    Connect: "made.connect(path)\nsay(made.send(b'hello'))",
    Sendto: "say(made.sendto(b'hello', path))",
    Bind: "say(tried(made.bind, path + '2'))",
}


@pytest.mark.parametrize("kind", list(_ACTS), ids=lambda kind: kind.__name__)
def test_a_directory_that_changes_places_after_the_look(
    place: Path, servers: dict[str, socket.socket], kind: Any
) -> None:
    """The socket that was looked at is connected to and sent to, and made where that was."""
    path = place / "open/socket"
    looked: list[str] = []
    with Supervisor() as supervisor:

        @supervisor.on(kind)
        def handler(call: Any) -> Any:
            if not looked:
                looked.append(call.caller.pin("address", spot_of(call, "address")))
                (place / "open").rename(place / "kept")
                (place / "open").symlink_to("closed")
            return call.perform()

        code = "path, made = sys.argv[1], socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        found = attempt(supervisor, code + _ACTS[kind], path)
    assert looked == [str(path) + ("2" if kind is Bind else "")]
    if kind is Bind:
        assert found == 0
        assert (place / "kept/socket2").is_socket()
        assert not (place / "closed/socket2").exists()
    else:
        assert found == 5
        assert servers["open"].recv(9) == b"hello"


def test_a_socket_that_appears_after_the_look_is_not_there(place: Path) -> None:
    """A name that named nothing leads nowhere, whatever is made of it meanwhile."""
    path = place / "open/late"
    with Supervisor() as supervisor, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:

        @supervisor.on(Connect)
        def handler(call: Connect) -> Any:
            call.caller.pin("address", spot_of(call, "address"))
            late.bind(str(path))
            return call.perform()

        code = "made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        assert attempt(supervisor, code + "say(tried(made.connect, sys.argv[1]))", path) == "ENOENT"
