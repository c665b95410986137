"""A program in a container asks, the agent answers: each runtime, as root and as ordinary users."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conftest import NOBODY
from tests.containers.container_support import (
    MODES,
    RUNTIMES,
    SHIFT,
    Agent,
    Place,
    Runtime,
    as_text,
)

POLICY = """
version = 1
default = "allow"

[[rule]]
calls = ["mkdir", "mkdirat"]
where = 'path == "/tmp/elsewhere"'
do = { redirect = { path = "/tmp/here" } }

[[rule]]
calls = ["mkdir", "mkdirat"]
do = "perform"

[[rule]]
calls = ["mknod", "mknodat"]
do = { emulate-mknod = ["c:1:3"] }

[[rule]]
calls = ["mknod", "mknodat"]
do = "perform"

[[rule]]
calls = ["mount"]
where = 'under(resolved(target), "/mnt")'
do = { emulate-mount = { file-systems = ["tmpfs"], size = "16m", capable = false } }

[[rule]]
calls = ["mount"]
do = "deny"

[[rule]]
calls = ["init_module", "finit_module"]
do = { load-module = ["br_netfilter"] }
"""
SCRIPT = """exec 2>&1
umask 027
mkdir /tmp/a && stat -c '%a %u:%g' /tmp/a
mkdir /tmp/a
mkdir /tmp/elsewhere && ls -d /tmp/elsewhere /tmp/here
mkdir /nowhere/a
mkfifo /tmp/fifo && stat -c '%a %F' /tmp/fifo
mknod /tmp/null c 1 3 && stat -c '%a %F %t:%T %u' /tmp/null && echo lost > /tmp/null
mknod /tmp/mem c 1 1
mount -t tmpfs -o size=1g none /mnt && df -m /mnt | tail -n 1
mount -t ext4 /dev/sda /mnt
echo none > /tmp/module
for n in 1 2 3 4; do
    # Where the machine is busy, a look at a module may take longer than it is given.
    case "$(insmod /tmp/module 2>&1 | tee /tmp/said)" in *"timed out") ;; *) break ;; esac
done
cat /tmp/said
echo end
"""
ANSWERS = """750 0:0
mkdir: can't create directory '/tmp/a': File exists
ls: /tmp/elsewhere: No such file or directory
/tmp/here
mkdir: can't create directory '/nowhere/a': No such file or directory
640 fifo
640 character special file 1:3 0
mknod: /tmp/mem: Operation not permitted
none                        16         0        16   0% /mnt
mount: permission denied (are you root?)
insmod: can't insert '/tmp/module': invalid module format
end
"""
NEED_ROOT = {
    "640 character special file 1:3 0\n": "mknod: /tmp/null: Operation not permitted\n",
    "none                        16         0        16   0% /mnt\n": "mount: permission denied "
    "(are you root?)\n",
}

OPENING = """
version = 1
default = "allow"

[[rule]]
calls = ["open", "openat"]
where = 'path == "/etc/motd"'
do = { inject = "from the agent\\n" }

[[rule]]
calls = ["open", "openat"]
do = "perform"
"""


@pytest.fixture(name="agents", scope="module")
def _agents(shared: Place) -> Callable[[str], Agent]:
    """Root's agent, or an ordinary user's own."""
    policies = shared.policies(story=POLICY, opening=OPENING)
    made: dict[str, Agent] = {}

    def agent(whose: str) -> Agent:
        if whose not in made:
            user = whose == "user"
            made[whose] = shared.agent(policies, f"--allow-uid={NOBODY}", user=user)
            os.chown(made[whose].socket, NOBODY, NOBODY)
        return made[whose]

    return agent


@pytest.mark.parametrize(
    ("mode", "whose"),
    [(mode, "root") for mode in MODES] + [("rootless", "user")],
    ids=str,
)
@pytest.mark.parametrize("name", RUNTIMES)
def test_story(
    name: str, mode: str, whose: str, agents: Callable[[str], Agent], place: Place
) -> None:
    """Each call gets the answer of its rule and the right errno; what is made is the target's."""
    runtime, agent = place.runtime(name, mode), agents(whose)
    bundle = runtime.bundle().supervised(POLICY, agent, metadata="story").runs(SCRIPT)
    # An ordinary user's agent may not do more than he may himself.
    answers = ANSWERS
    for made, refused in NEED_ROOT.items() if whose == "user" else ():
        answers = answers.replace(made, refused)
    done = runtime.runs(bundle)
    assert done.stdout == answers, as_text(done) + agent.said
    owner = {"rootful": 0, "userns": SHIFT, "rootless": NOBODY}[mode]
    found = os.stat(bundle.rootfs / "tmp" / "a")
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (owner, owner, 0o750)
    assert runtime.containers() == []


@pytest.mark.parametrize("name", RUNTIMES)
def test_descriptors(name: str, agents: Callable[[str], Agent], place: Place) -> None:
    """Opens are done by the agent, those of the runtime itself too; a file can be its text."""
    runtime, agent = place.runtime(name), agents("root")
    bundle = runtime.bundle().supervised(OPENING, agent, metadata="opening")
    (bundle.rootfs / "etc" / "issue").write_text("from the container\n")
    done = runtime.runs(bundle.runs("cat /etc/motd /etc/issue; echo more >> /etc/issue"))
    assert done.stdout == "from the agent\nfrom the container\n", as_text(done) + agent.said
    assert (bundle.rootfs / "etc" / "issue").read_text() == "from the container\nmore\n"


@pytest.mark.parametrize("privileges", [True, False], ids=["no new privileges", "new privileges"])
@pytest.mark.parametrize("name", RUNTIMES)
def test_no_new_privileges(
    name: str, privileges: bool, agents: Callable[[str], Agent], place: Place
) -> None:
    """Runtimes install the filter elsewhere without noNewPrivileges: the answers are the same."""
    runtime, agent = place.runtime(name), agents("root")
    bundle = runtime.bundle().supervised(POLICY, agent, metadata="story")
    bundle.config["process"]["noNewPrivileges"] = privileges
    done = runtime.runs(
        bundle.runs("grep NoNewPrivs /proc/self/status; mkdir /tmp/elsewhere; ls /tmp")
    )
    assert done.stdout == f"NoNewPrivs:\t{int(privileges)}\nhere\n", as_text(done)


@pytest.mark.parametrize(
    ("mode", "privileges"),
    [("rootful", False), ("userns", True)],
    ids=["rootful-new privileges", "userns-no new privileges"],
)
@pytest.mark.parametrize("name", RUNTIMES)
def test_exec(
    name: str, mode: str, privileges: bool, agents: Callable[[str], Agent], place: Place
) -> None:
    """A process that is added to a container has a listener of its own, and the same policy."""
    runtime, agent = place.runtime(name, mode), agents("root")
    bundle = runtime.bundle().supervised(POLICY, agent, metadata="story")
    bundle.config["process"]["noNewPrivileges"] = privileges
    container = runtime.detaches(bundle.runs("exec sleep 1000"))
    done = runtime.does("exec", container, "grep", "NoNewPrivs", "/proc/self/status")
    # Crun's exec does not take it over.
    assert done.stdout == f"NoNewPrivs:\t{int(privileges and name == 'runc')}\n", as_text(done)
    done = runtime.does("exec", container, "sh", "-c", SCRIPT)
    assert done.stdout == ANSWERS, as_text(done) + agent.said
    runtime.delete(container)


def test_large_annotations(agents: Callable[[str], Agent], place: Place) -> None:
    """A state of 300 kB, which runtimes send in several pieces, is read whole."""
    for name in RUNTIMES:
        runtime, agent = place.runtime(name), agents("root")
        bundle = runtime.bundle().supervised(POLICY, agent, metadata="story")
        bundle.config["annotations"] = {"org.example.much": "x" * 300_000}
        done = runtime.runs(bundle.runs("mkdir /tmp/elsewhere; ls /tmp"))
        assert done.stdout == "here\n", as_text(done) + agent.said


def test_many_at_once(agents: Callable[[str], Agent], place: Place) -> None:
    """Fifty containers that run at the same time get their own answers."""
    agent, running = agents("root"), []
    for at in range(50):
        runtime: Runtime = place.runtime(RUNTIMES[at % 2])
        bundle = runtime.bundle().supervised(POLICY, agent, metadata="story")
        script = f"read go; for n in 1 2 3 4 5; do mkdir -p /tmp/of-{at}/$n; done; ls /tmp/of-{at}"
        running.append((runtime, bundle, *runtime.begins(bundle.runs(script))))
    for _, _, _, process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for _, bundle, _, process in running:
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "1\n2\n3\n4\n5\n")
        assert [found.name.partition("-")[0] for found in (bundle.rootfs / "tmp").iterdir()] == [
            "of"
        ]
