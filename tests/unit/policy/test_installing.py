"""What a policy says of its installation: flags of the filter, and who gets the listener."""

from __future__ import annotations

import json

import pytest

from unotify.abi.seccomp import FilterFlag
from unotify.errors import InvalidPolicy
from unotify.policy.fields import TOP
from unotify.policy.installing import FLAGS, LISTENER, short
from unotify.policy.loader import load
from unotify.policy.oci import export_profile, import_profile
from unotify.policy.oci.words import FLAGS as OCI_FLAGS

HEAD = 'version = 1\ndefault = "allow"\n'


def problems(text: str) -> list[tuple[str, str | None]]:
    """What is wrong with a policy that has this line, each with its hint."""
    with pytest.raises(InvalidPolicy) as caught:
        load(HEAD + text)
    return [
        (f"{error.line}:{error.column}: {error}", error.hint) for error in caught.value.problems
    ]


def test_flags() -> None:
    """Each flag has the kernel's name, in the language's spelling; said twice it is one."""
    for name, flag in FLAGS.items():
        assert short(flag.full) == name
        assert flag.full.removeprefix("SECCOMP_FILTER_FLAG_") in FilterFlag.__members__
        assert load(f'{HEAD}flags = "{name}"\n').flags == (flag.full,)
    found = load(HEAD + 'flags = ["log", "spec-allow", "log"]\n').flags
    assert found == ("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW")
    assert load(HEAD).flags == load(HEAD + "flags = []\n").flags == ()


def test_listener() -> None:
    """A path, and what is told there."""
    made = load(HEAD + 'listener = { path = "/run/a", metadata = "m" }\n')
    assert (made.listener_path, made.listener_metadata) == ("/run/a", "m")
    made = load(HEAD + '[listener]\npath = "/run/a"\n')
    assert (made.listener_path, made.listener_metadata) == ("/run/a", None)
    assert set(LISTENER) == {"path", "metadata"}


def test_profiles_have_the_same() -> None:
    """All of it can be said in an OCI profile, and comes back from one."""
    names = ", ".join(json.dumps(name) for name in FLAGS)
    made = load(f'{HEAD}flags = [{names}]\nlistener = {{ path = "/a", metadata = "m" }}\n')
    document, _ = export_profile(made)
    assert set(document["flags"]) == OCI_FLAGS
    back = import_profile(document)
    assert (back.flags, back.listener_path, back.listener_metadata) == (made.flags, "/a", "m")


def test_includes() -> None:
    """What a file does not say, the files that it includes say for it."""
    base = HEAD + 'flags = ["log"]\nlistener = { path = "/base" }\n'
    made = load(HEAD + 'include = "b"\nflags = []\n', include=lambda name: base)
    assert (made.flags, made.listener_path) == ((), "/base")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flags = 3", [("3:9: flags takes names, not an integer", None)]),
        ('flags = ["LOG"]', [("3:10: no filter flag is named 'LOG'", 'write "log"')]),
        (
            'flags = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]',
            [
                (
                    "3:10: no filter flag is named 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'",
                    'write "spec-allow"',
                )
            ],
        ),
        ('flags = "tsinc"', [("3:9: no filter flag is named 'tsinc'", "did you mean tsync?")]),
        (
            "flags = [1]",
            [
                (
                    "3:10: no filter flag is named 1",
                    "there are log, spec-allow, tsync and wait-killable-recv",
                )
            ],
        ),
        (
            'listener = "/run/a"',
            [("3:12: listener is a table, not a string", 'such as { path = "/run/agent.sock" }')],
        ),
        (
            'listener = { metadata = "x" }',
            [("3:1: listener does not say where", 'such as path = "/run/agent.sock"')],
        ),
        (
            'listener = { path = "", metadata = 1, pth = 2 }',
            [
                ("3:21: path is empty", "say something, or leave it out"),
                ("3:36: metadata is a string, not an integer", None),
                ("3:39: listener has no key 'pth'", "did you mean path?"),
            ],
        ),
    ],
)
def test_mistakes(text: str, found: list[tuple[str, str | None]]) -> None:
    """Each mistake has its place and, where there is one, its cure."""
    assert problems(text) == found


def test_they_are_keys_of_a_file() -> None:
    """The reference has an example of each."""
    for key in ("flags", "listener"):
        load(f"{HEAD}{key} = {TOP[key].example}\n")
