"""Where metrics and probes are served."""

from __future__ import annotations

import pytest

from unotify.oci.web import parse_address


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
