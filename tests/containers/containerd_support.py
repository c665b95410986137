"""Containerd for tests: one of its own in a place, `ctr`, and a kubelet's part of CRI.

What a kubelet asks of a runtime are calls of gRPC over a socket. curl speaks HTTP/2, and the few
messages are written by hand: each is its fields by the numbers that ``api.proto`` of
``k8s.io/cri-api`` (runtime.v1) gives them, said beside each.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.conftest import NOBODY
from tests.containers.container_support import SHIFT, Apart, Place, program
from tests.kernel.spawn_support import PATIENCE, until

__all__ = ["IMAGE", "Containerd", "Kubelet", "Refused", "image", "without"]

IMAGE = "localhost/busybox:1"
_HOST = 2
"""NamespaceMode.NODE: a pod with the node's network needs no CNI."""
_TRAILERS = "te: trailers"  # codespell:ignore te
_LOCALHOST = 2
"""SecurityProfile.ProfileType.Localhost."""


def without(group: str) -> None:
    """Take away the control group that an engine keeps all containers in, if it is empty."""
    for found in Path("/sys/fs/cgroup").glob(f"*/{group}"):
        for inner, _, _ in os.walk(found, topdown=False):
            with suppress(OSError):  # there are others in it
                os.rmdir(inner)


def image(place: Place) -> Path:
    """An image of busybox with one layer, as an OCI archive."""
    rootfs = place.runtime("runc").bundle().rootfs
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(rootfs, ".")
    layer = made.getvalue()
    kind = "application/vnd.oci.image"
    # Containerd asks for the machine that it knows itself by.
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = _json(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sleep", "1000"]},
            "rootfs": {"type": "layers", "diff_ids": [_named(layer)["digest"]]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "config": {"mediaType": f"{kind}.config.v1+json"} | _named(config),
            "layers": [{"mediaType": f"{kind}.layer.v1.tar"} | _named(layer)],
        }
    )
    entry = {"mediaType": f"{kind}.manifest.v1+json"} | _named(manifest)
    entry["annotations"] = {"io.containerd.image.name": IMAGE}
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [entry]}),
    }
    for blob in (layer, config, manifest):
        files[f"blobs/{_named(blob)['digest'].replace(':', '/')}"] = blob
    path = place.fresh("image.tar")
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _named(blob: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}


class UsersApart:
    """The same as `Apart` with a user namespace, as rootlesskit makes one for an ordinary user."""

    def __init__(self, place: Place, home: Path) -> None:
        user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        made = place.begin(
            [program("setpriv"), *user, "unshare", "-U", "sh", "-c", "echo; exec sleep 100000"],
            stdout=subprocess.PIPE,
        )
        assert made.stdout is not None
        assert made.stdout.readline() == "\n"
        for kind in ("uid", "gid"):
            # What newuidmap and newgidmap would write.
            Path(f"/proc/{made.pid}/{kind}_map").write_text(f"0 {NOBODY} 1\n1 {2 * SHIFT} 65535\n")
        self._apart = Apart(place, within=made.pid)
        self._environ = [f"{name}={home}" for name in ("HOME", "XDG_RUNTIME_DIR")]

    def command(self, *command: str) -> list[str]:
        """*command* in there."""
        return self._apart.command("env", *self._environ, *command)

    def does(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run *command* in there, to its end."""
        return self._apart.does("env", *self._environ, *command, **options)


class Containerd:
    """A containerd of its own, and ``ctr``.

    Args:
        place: Where.
        user: Whether it is an ordinary user's.

    Attributes:
        socket: Where it listens.
    """

    def __init__(self, place: Place, *, user: bool = False) -> None:
        self._home = place.fresh("d")
        self._home.mkdir()
        if user:
            os.chown(self._home, NOBODY, NOBODY)
        self._apart = UsersApart(place, self._home) if user else Apart(place)
        self.socket = self._home / "c.sock"
        config = self._home / "config.toml"
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        config.write_text(
            f'version = 2\nroot = "{self._home}/root"\nstate = "{self._home}/state"\n'
            # Control groups are root's, which a kubelet cannot do without.
            f"disabled_plugins = {['io.containerd.grpc.v1.cri'] if user else []}\n"
            f'[grpc]\naddress = "{self.socket}"\n[ttrpc]\naddress = "{self._home}/t.sock"\n'
            # Where root lacks CAP_SYS_RESOURCE nobody can be preferred to others.
            f'[{cri}]\nsandbox_image = "{IMAGE}"\nrestrict_oom_score_adj = true\n'
            f'disable_apparmor = true\n[{cri}.containerd]\nsnapshotter = "native"\n'
            f'[{cri}.cni]\nbin_dir = "{self._home}/cni"\nconf_dir = "{self._home}/cni"\n'
        )
        with open(self._home / "log", "w") as log:
            place.begin(
                self._apart.command(program("containerd"), "-c", str(config)),
                stdout=log,
                stderr=log,
            )
        until(lambda: self.ctr("version").returncode == 0)

    @property
    def said(self) -> str:
        """The end of its log."""
        return (self._home / "log").read_text()[-2000:]

    def command(self, *arguments: str) -> list[str]:
        """``ctr`` with *arguments*."""
        return self._apart.command(program("ctr"), "-a", str(self.socket), *arguments)

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``ctr``, to its end."""
        return self._apart.does(program("ctr"), "-a", str(self.socket), *arguments)

    def takes(self, archive: Path, namespace: str) -> None:
        """Import an image."""
        done = self.ctr("-n", namespace, "images", "import", "--snapshotter=native", str(archive))
        assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- CRI


class Refused(Exception):
    """What a runtime says instead of an answer."""


class Kubelet:
    """What a kubelet asks of a runtime, for pods with the node's network.

    Args:
        containerd: The runtime; it has the image `IMAGE` for ``k8s.io``.
        place: Where pods have their logs.
    """

    def __init__(self, containerd: Containerd, place: Place) -> None:
        self._containerd = containerd
        self._logs = place.fresh("logs")
        self._pods: list[str] = []

    def _asks(self, method: str, message: Mapping[int, Any]) -> bytes:
        data = _encoded(message)
        headers = ["-H", "content-type: application/grpc", "-H", _TRAILERS]
        done = subprocess.run(
            [
                *(program("curl"), "-sS", "-i", "--max-time", str(3 * PATIENCE), *headers),
                *("--http2-prior-knowledge", "--unix-socket", str(self._containerd.socket)),
                *("--data-binary", "@-", f"http://cri/runtime.v1.RuntimeService/{method}"),
            ],
            input=b"\0" + len(data).to_bytes(4, "big") + data,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        if b"grpc-status: 0" not in done.stdout:
            raise Refused(done.stdout.decode(errors="replace"))
        return done.stdout

    def _makes(self, method: str, message: Mapping[int, Any]) -> str:
        """The id of what is made."""
        (found,) = re.findall(rb"\n@([0-9a-f]{64})", self._asks(method, message))
        return str(found.decode())

    def starts(self, name: str, localhost: Path, *command: str) -> str:
        """Start a pod of one container whose seccomp profile is a file of the node; its id."""
        hosts = {1: _HOST}  # NamespaceOption.network
        pod = {
            1: {1: name, 2: name, 3: "default"},  # metadata: name, uid, namespace
            3: str(self._logs),  # log_directory
            8: {2: {1: hosts}},  # linux.security_context.namespace_options
        }
        sandbox = self._makes("RunPodSandbox", {1: pod})
        self._pods.append(sandbox)
        security = {
            3: hosts,  # namespace_options
            15: {
                1: _LOCALHOST,
                2: f"localhost/{localhost}",
            },  # seccomp: profile_type, localhost_ref
        }
        container = {
            1: {1: name},  # metadata.name
            2: {1: IMAGE},  # image.image
            3: list(command),  # command
            11: f"{name}.log",  # log_path
            15: {2: security},  # linux.security_context
        }
        made = self._makes("CreateContainer", {1: sandbox, 2: container, 3: pod})
        self._asks("StartContainer", {1: made})
        return made

    def execs(self, container: str, *command: str) -> str:
        """What a process says that is added to a container, as probes are."""
        # container_id, cmd, timeout in seconds; the answer has what it wrote.
        answer = self._asks("ExecSync", {1: container, 2: list(command), 3: int(3 * PATIENCE)})
        return answer.decode(errors="replace")

    def said(self, name: str, last: str) -> str:
        """What a container has said up to a line that is *last*."""
        path = self._logs / f"{name}.log"
        until(lambda: path.exists() and f" stdout F {last}\n" in path.read_text())
        return "".join(
            f"{line.split(' ', 3)[3]}\n" for line in path.read_text().splitlines() if line
        )

    def ends(self) -> None:
        """End all pods."""
        for pod in self._pods:
            self._asks("StopPodSandbox", {1: pod})
            self._asks("RemovePodSandbox", {1: pod})


def _encoded(message: Mapping[int, Any]) -> bytes:
    """A message of protobuf: fields by number, of text, numbers and messages."""
    out = b""
    for number, value in message.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int):
                out += _varint(number << 3) + _varint(each)
                continue
            data = each.encode() if isinstance(each, str) else _encoded(each)
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
