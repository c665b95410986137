"""Which policy a container gets."""

from __future__ import annotations

from typing import Any

import pytest

from unotify.errors import InvalidPolicy
from unotify.oci.choosing import Choice, Table, image_of, read_table, table_without_file
from unotify.oci.process_state import ProcessState

NAMES = ("builder", "web", "default")


def choice(table: Table, **state: Any) -> str:
    """The policy that a container gets."""
    return table.choose(ProcessState(**{"id": "c1", **state}), NAMES).policy


def table(text: str) -> Table:
    """A table of version 1."""
    return read_table(f"version = 1\n{text}", NAMES)


def test_first_match() -> None:
    """The first entry that matches counts, and says which it was."""
    found = table(
        """
        default = "default"
        [[container]]
        id = "build-*"
        policy = "builder"
        [[container]]
        id = "build-1"
        policy = "web"
        """
    )
    assert choice(found, id="build-1") == "builder"
    assert choice(found, id="rebuild-1") == "default"
    assert found.choose(ProcessState("build-1"), NAMES).by == 1
    assert found.choose(ProcessState("x"), NAMES) == Choice("default")


@pytest.mark.parametrize(
    ("condition", "state", "others"),
    [
        ('metadata = "a*"', {"metadata": "abc"}, [{"metadata": "b"}, {}]),
        ('metadata = ""', {}, [{"metadata": "b"}]),
        ('id = "[ab]?"', {"id": "a1"}, [{"id": "c1"}, {"id": "a12"}]),
        (
            'image = "docker.io/library/*"',
            {"annotations": {"io.kubernetes.cri.image-name": "docker.io/library/nginx:1"}},
            [{}, {"annotations": {"io.kubernetes.cri.image-name": "quay.io/x"}}],
        ),
        (
            'annotation = { "k.a" = "v*", b = "w" }',
            {"annotations": {"k.a": "v1", "b": "w"}},
            [{"annotations": {"k.a": "v1"}}, {"annotations": {"k.a": "x", "b": "w"}}, {}],
        ),
    ],
)
def test_conditions(condition: str, state: dict[str, Any], others: list[dict[str, Any]]) -> None:
    """Each condition matches what its pattern says, and nothing else."""
    found = table(f'[[container]]\n{condition}\npolicy = "web"')
    assert choice(found, **state) == "web"
    for other in others:
        assert choice(found, **other) == "refuse"


def test_all_conditions() -> None:
    """All conditions of an entry have to hold."""
    found = table('[[container]]\nid = "a*"\nmetadata = "m"\npolicy = "web"')
    assert choice(found, id="a", metadata="m") == "web"
    assert choice(found, id="a", metadata="n") == "refuse"
    assert choice(found, id="b", metadata="m") == "refuse"


def test_named_by_the_container() -> None:
    """An entry may take the policy that metadata or an annotation names, if there is one."""
    found = table(
        """
        [[container]]
        named-by = { annotation = "org.example.policy" }
        [[container]]
        named-by = "metadata"
        """
    )
    assert choice(found, annotations={"org.example.policy": "web"}) == "web"
    assert choice(found, annotations={"org.example.policy": "no"}, metadata="builder") == "builder"
    assert choice(found, metadata="refuse") == "refuse"
    assert choice(found, metadata="../web") == "refuse"


def test_without_a_table() -> None:
    """Without a table the metadata names the policy, and else it is the one named default."""
    found = table_without_file(NAMES)
    assert choice(found, metadata="web") == "web"
    assert choice(found, metadata="other") == "default"
    assert choice(table_without_file(["web"]), metadata="other") == "refuse"


def test_wait_killable() -> None:
    """An entry may say that its containers' filters have WAIT_KILLABLE_RECV, or have not."""
    found = table(
        '[[container]]\nid = "a"\npolicy = "web"\nwait-killable = true\n'
        '[[container]]\nid = "b"\npolicy = "web"\nwait-killable = false\n'
        '[[container]]\npolicy = "web"\n'
    )
    said = [found.choose(ProcessState(id), NAMES).wait_killable for id in ("a", "b", "c")]
    assert said == [True, False, None]


def test_on_reload() -> None:
    """The table and each entry may say whether containers get what is loaded later."""
    entries = (
        '[[container]]\nid = "a"\npolicy = "web"\n'
        '[[container]]\nid = "b"\npolicy = "web"\non-reload = "keep"\n'
    )
    found = table('on-reload = "move"\n' + entries)
    said = [found.choose(ProcessState(id), NAMES).moves for id in ("a", "b", "c")]
    assert said == [True, False, True]
    assert not table(entries).choose(ProcessState("a"), NAMES).moves


def test_image() -> None:
    """The image is in the annotation of whichever runtime it is; podman tells none."""
    for key in (
        "io.kubernetes.cri.image-name",
        "io.kubernetes.cri-o.ImageName",
        "org.opencontainers.image.ref.name",
    ):
        assert image_of(ProcessState("c", annotations={key: "busybox:1"})) == "busybox:1"
    assert image_of(ProcessState("c", annotations={"io.podman.annotations.init": "x"})) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "version is 1"),
        ("version = 2", "version is 1"),
        ("version = ", "Invalid value"),
        ('version = 1\ndefault = "webb"', "default: no policy is named 'webb'"),
        ("version = 1\ndefaults = 1", "the table has no defaults"),
        ("version = 1\ncontainer = 1", "container is a list of tables"),
        ("version = 1\n[[container]]", "container 1 has either policy or named-by"),
        (
            'version = 1\n[[container]]\npolicy = "web"\nnamed-by = "metadata"',
            "container 1 has either policy or named-by",
        ),
        ('version = 1\n[[container]]\npolicy = "wbe"', "policy of container 1: no policy"),
        ("version = 1\n[[container]]\npolicy = 1", "policy of container 1: no policy"),
        ('version = 1\n[[container]]\nnamed-by = "id"', "named-by of container 1 is"),
        ("version = 1\n[[container]]\nnamed-by = { annotation = 1 }", "named-by of container 1 is"),
        ('version = 1\n[[container]]\npolicy = "web"\nid = 1', "id of container 1 is a pattern"),
        ('version = 1\n[[container]]\npolicy = "web"\nids = "a"', "container 1 has no ids"),
        ('version = 1\n[[container]]\npolicy = "web"\nannotation = "a"', "is a table of patterns"),
        ('version = 1\n[[container]]\npolicy = "web"\nwait-killable = 1', "is true or false"),
        ('version = 1\non-reload = "go"', 'on-reload of the table is "keep" or "move"'),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    """A mistake in the table is told with its place in words."""
    with pytest.raises(InvalidPolicy) as raised:
        read_table(text, NAMES, source="t.toml")
    assert said in str(raised.value)
    assert raised.value.source == "t.toml"


def test_all_mistakes() -> None:
    """All mistakes are told at once, with a near name where there is one."""
    with pytest.raises(InvalidPolicy) as raised:
        read_table('version = 1\ndefault = "webb"\n[[container]]\npolicy = "x"', NAMES)
    assert len(raised.value.problems) == 2
    assert "web" in (raised.value.problems[0].hint or "")
