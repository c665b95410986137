"""Where metrics and probes are served."""

from __future__ import annotations

import stat
from pathlib import Path
from socketserver import TCPServer

import pytest

from unotify.oci.web import Web, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9273", ("127.0.0.1", 9273)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:80", ("::1", 80)),
        ("unix:/run/x", "/run/x"),
    ],
)
def test_addresses(text: str, address: object) -> None:
    """Of both families, and paths."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "9273", "localhost:80", "127.0.0.1", "127.0.0.1:99999", "::1:80", "unix:", "[::1]"]
)
def test_what_is_no_address(text: str) -> None:
    """One sentence with examples."""
    with pytest.raises(ValueError, match="is no address: write"):
        parse_address(text)


def test_a_unix_socket_is_its_owners_before_anybody_can_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has mode 0600 when listen(2) is called, and goes at the end."""
    path = tmp_path / "metrics"
    modes = []

    def activate(server: TCPServer) -> None:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        server.socket.listen()

    monkeypatch.setattr(TCPServer, "server_activate", activate)
    Web(str(path), {}).close()
    assert modes == [0o600]
    assert not path.exists()
