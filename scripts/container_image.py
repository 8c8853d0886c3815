"""Makes container images without a container program: a layer of files, and what `docker load` reads.

The files are those of Debian packages, which mmdebstrap takes apart without running them, so any machine can
make an image for any other. Times, owners and the order are fixed: the same packages make the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USER = 65532  # as in other images that have no root: no user of the host has it
PORTS = ("5000/udp", "8181/tcp")
STATE = "var/lib/netbond"
HEALTHY = "/usr/bin/netbond-healthy"
# In memory, and writable also if the file system is read-only.
STATISTICS = "/dev/shm/netbond-stats.json"  # noqa: S108
SECOND_NS = 1_000_000_000

# What a program needs to run, of what Debian's packages bring.
KEPT = (
    "etc/mime.types",
    "etc/protocols",
    "etc/python3",
    "etc/services",
    "usr/bin/python3",
    "usr/bin/srt-",
    "usr/lib",
    "usr/share/zoneinfo",
)
LEFT_OUT = ("/gconv/", "/perl", "/apt/", "/dpkg/", "/ensurepip/", "/lib2to3/", "/pydoc_data/", "/systemd/")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
FOLDERS = {"dev": 0o755, "proc": 0o755, "sys": 0o755, "run": 0o755, "tmp": 0o1777, "usr/sbin": 0o755}


@dataclass(frozen=True)
class Image:
    """What an image is called and starts."""

    name: str  # with its tag
    architecture: str  # as Debian and Go call it
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    version: str
    healthy: tuple[str, ...] = ()


def receiver(version: str, architecture: str) -> Image:
    """The image of `netbond recv`."""
    start = ("/usr/bin/netbond-start", "/usr/bin/netbond", "recv", "--stats-file", STATISTICS)
    options = ("--srtla-port", "5000", "--srt", "127.0.0.1:4001")
    return Image(f"netbond-recv:{version}", architecture, start, options, version, (HEALTHY,))


def kept(path: str) -> bool:
    """Whether a file of Debian's goes into the image. Copyrights stay."""
    if path.startswith("usr/share/doc/"):
        return path.endswith("/copyright")
    return path.startswith(KEPT) and not any(part in f"/{path}/" for part in LEFT_OUT)


def layer(packages: Path, own: Path, epoch: int) -> bytes:
    """The files of an image, a tar archive: Debian's that are kept, and those below the folder `own`."""
    made: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def add(path: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.mtime, info.size, info.linkname = kind, mode, epoch, len(data), link
        info.uid = info.gid = USER if path == STATE else 0
        made[path] = (info, data)

    with tarfile.open(packages) as source:
        for member in source:
            path = member.name.removeprefix("./")
            if not kept(path):
                continue
            # A hard link becomes a copy: the file that it names may be left out.
            file = source.extractfile(member) if member.isfile() or member.islnk() else None
            if file is not None:
                add(path, tarfile.REGTYPE, member.mode & 0o755, file.read())
            else:
                add(path, member.type, member.mode & 0o777, link=member.linkname)
    for file_path in own.rglob("*"):
        path = str(file_path.relative_to(own))
        if file_path.is_symlink():
            add(path, tarfile.SYMTYPE, 0o777, link=str(file_path.readlink()))
        elif file_path.is_dir():
            add(path, tarfile.DIRTYPE, 0o755)
        else:
            mode = 0o755 if file_path.stat().st_mode & 0o100 else 0o644
            add(path, tarfile.REGTYPE, mode, file_path.read_bytes())
    for path, mode in {**FOLDERS, STATE: 0o700}.items():
        add(path, tarfile.DIRTYPE, mode)
    for path, link in LINKS.items():
        add(path, tarfile.SYMTYPE, 0o777, link=link)
    for path, text in _users():
        add(path, tarfile.REGTYPE, 0o644, text.encode())
    for parent in {str(parent) for path in made for parent in Path(path).parents} - {".", *made}:
        add(parent, tarfile.DIRTYPE, 0o755)
    return _tar(made[path] for path in sorted(made))


def _users() -> Iterator[tuple[str, str]]:
    yield "etc/passwd", f"root:x:0:0:root:/:/nonexistent\nnetbond:x:{USER}:{USER}:netbond:/:/nonexistent\n"
    yield "etc/group", f"root:x:0:\nnetbond:x:{USER}:\n"
    yield "etc/nsswitch.conf", "hosts: files dns\n"


def _tar(members: Iterator[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return result.getvalue()


def configuration(image: Image, digest: str, epoch: int) -> dict[str, Any]:
    """What a container program reads of an image; `digest` is that of the layer."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    config: dict[str, Any] = {
        "User": f"{USER}:{USER}",
        "Env": ["PATH=/usr/bin"],
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "WorkingDir": "/",
        "StopSignal": "SIGTERM",
        "Labels": {
            "org.opencontainers.image.title": image.name.partition(":")[0],
            "org.opencontainers.image.version": image.version,
        },
    }
    if image.healthy:
        config["ExposedPorts"] = {port: {} for port in PORTS}
        config["Healthcheck"] = {
            "Test": ["CMD", *image.healthy],
            "Interval": 10 * SECOND_NS,
            "Timeout": 5 * SECOND_NS,
            "StartPeriod": 30 * SECOND_NS,
            "Retries": 3,
        }
    return {
        "architecture": image.architecture,
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": created, "created_by": "scripts/build image"}],
    }


def archive(image: Image, files: bytes, epoch: int) -> bytes:
    """What `docker load` and `podman load` read; `files` is the layer.

    The layer is compressed, the whole is not: podman 4.3 reads no compressed archive.
    """
    digest = hashlib.sha256(files).hexdigest()
    config = json.dumps(configuration(image, digest, epoch), indent=1).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [image.name], "Layers": [f"{digest}.tar.gz"]}]
    packed = gzip.compress(files, 9, mtime=0)
    members = {name: config, f"{digest}.tar.gz": packed, "manifest.json": json.dumps(manifest).encode()}

    def entries() -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size, info.mtime, info.mode = len(data), epoch, 0o644
            yield info, data

    return _tar(entries())
