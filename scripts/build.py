"""Builds what is handed out: sdist, wheels, Debian packages, a list of parts (SBOM) and checksums.

usage: scripts/build [--out FOLDER] [--cache FOLDER] [sdist|pure|wheels|deb|image|sbom]...

Everything is made from the last commit, and two builds of one commit give the same bytes: times are the
commit's, and the tools have fixed versions (scripts/build-requirements.txt).

Compiled wheels are made by Zig's C compiler from PyPI, which brings the libraries of old systems: wheels for
glibc 2.17 (2012) and later, on x86-64 and aarch64, from any machine. They need the headers of each Python.
Those of x86-64 serve for aarch64, too: pyconfig.h differs only in what Python's own core looks at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import container_image

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC = "2.17"
DEBIAN = {"12": "3.11", "13": "3.13"}  # the Python of each release
HOME = "/usr/lib/netbond"  # the virtual environment in a Debian package
IMAGE = ("13", "trixie")  # the Debian release of the container image


@dataclass(frozen=True)
class Machine:
    """A kind of machine that wheels and packages are made for."""

    name: str  # as `uname -m` and wheels call it
    debian: str

    @property
    def tag(self) -> str:
        """The platform of its wheels (PEP 600)."""
        return f"manylinux_{GLIBC.replace('.', '_')}_{self.name}"


MACHINES = (Machine("x86_64", "amd64"), Machine("aarch64", "arm64"))


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"\033[1m==> {text}\033[0m", file=sys.stderr, flush=True)


class Build:
    """One build of the last commit."""

    def __init__(self, out: Path, cache: Path) -> None:
        self.out, self.cache = out, cache
        out.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        self.commit = self._git("rev-parse", "HEAD")
        self.epoch = int(self._git("log", "-1", "--format=%ct"))
        self.environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
            **{key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))},
            "SOURCE_DATE_EPOCH": str(self.epoch),
            "PYTHONHASHSEED": "0",
        }
        self.skipped: list[str] = []

    def _git(self, *words: str) -> str:
        command = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def sources(self, place: Path) -> Path:
        """The files of the commit, below `place`."""
        command = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}", "archive", self.commit]
        archive = subprocess.run(command, check=True, capture_output=True).stdout
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x", "-C", str(place)], check=True, input=archive)
        return place

    def tools(self, version: str) -> Path | None:
        """The Python of an environment with the tools; None if this Python is not installed."""
        found = next(
            filter(None, (_real_python(name, version) for name in (f"python{version}", "python3"))), None
        )
        if found is None:
            return None
        wanted = (ROOT / "scripts/build-requirements.txt").read_text(encoding="utf-8")
        stamp = hashlib.sha256(f"{found} {wanted}".encode()).hexdigest()[:16]
        home = self.cache / f"tools-{version}-{stamp}"
        if not (home / "done").exists():
            say(f"tools for Python {version}")
            subprocess.run([found, "-m", "venv", "--clear", home], check=True)
            pip = [str(home / "bin/python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
            for name in ("build-requirements.txt", "package-requirements.txt"):
                subprocess.run([*pip, "-r", str(ROOT / "scripts" / name)], check=True)
            (home / "done").touch()
        return home / "bin/python"

    def sdist(self) -> None:
        """The source archive."""
        self._hatchling("sdist", self._some_tools(), {"NETBOND_PURE": "1"})

    def pure(self) -> None:
        """The wheel for all machines that no other one is for."""
        self._hatchling("wheel", self._some_tools(), {"NETBOND_PURE": "1"})

    def wheels(self) -> None:
        """The compiled wheels, for each Python that is here and each kind of machine."""
        for version in PYTHONS:
            python = self.tools(version)
            if python is None:
                self.skipped.append(f"wheels for Python {version}: python{version} is not installed")
                continue
            include = _ask(python, "import sysconfig; print(sysconfig.get_path('include'))")
            if not Path(include, "Python.h").exists():
                self.skipped.append(f"wheels for Python {version}: {include}/Python.h is missing")
                continue
            for machine in MACHINES:
                self._compiled(python, version, machine)

    def _compiled(self, python: Path, version: str, machine: Machine) -> None:
        with tempfile.TemporaryDirectory() as folder:
            # The environment of a build must not matter: no flags of the Python that builds.
            # Debian's pyconfig.h leads to one in a folder of the machine, which Zig does not look into.
            config = _ask(
                python,
                "import os, sysconfig; place = sysconfig.get_config_h_filename();"
                'real = f\'/usr/include/{sysconfig.get_config_var("MULTIARCH")}/{place.split("/", 3)[3]}\';'
                "print(real if os.path.exists(real) else place)",
            )
            include = Path(folder, "include")
            for each in MACHINES:
                place = include / f"{each.name}-linux-gnu/python{version}"
                place.mkdir(parents=True)
                shutil.copy(config, place / "pyconfig.h")
            flags = f"-target {machine.name}-linux-gnu.{GLIBC} -g0 -Wl,-s -I{include}"
            compiler = Path(folder, "cc")
            compiler.write_text(f'#!/bin/sh\nexec {python} -m ziglang cc {flags} "$@"\n', encoding="utf-8")
            compiler.chmod(0o755)
            suffix = f".cpython-{version.replace('.', '')}-{machine.name}-linux-gnu.so"
            settings = {
                "CC": str(compiler),
                "LDSHARED": f"{compiler} -shared",
                "CFLAGS": "-O2 -DNDEBUG -fPIC",
                "SETUPTOOLS_EXT_SUFFIX": suffix,
                "_PYTHON_HOST_PLATFORM": machine.tag,
                "ZIG_GLOBAL_CACHE_DIR": str(self.cache / "zig"),
                "ZIG_LOCAL_CACHE_DIR": str(self.cache / "zig"),
            }
            self._hatchling("wheel", python, settings, machine.tag)

    def _hatchling(self, kind: str, python: Path, settings: dict[str, str], tag: str = "") -> None:
        with tempfile.TemporaryDirectory() as folder:
            tree = self.sources(Path(folder, "netbond"))
            result = Path(folder, "out")
            command = [str(python), "-m", "hatchling", "build", "-t", kind, "-d", str(result)]
            environment = {**self.environment, **settings}
            subprocess.run(command, check=True, cwd=tree, env=environment, stdout=subprocess.DEVNULL)
            (made,) = result.iterdir()
            if tag not in made.name:
                raise SystemExit(f"build: {made.name} should be {tag}: it could not be compiled, see above")
            say(made.name)
            shutil.copy(made, self.out / made.name)

    def _some_tools(self) -> Path:
        found = next(filter(None, (self.tools(version) for version in PYTHONS)), None)
        if found is None:
            raise SystemExit(f"build: none of Python {', '.join(PYTHONS)} is installed")
        return found

    # --- Debian packages

    def deb(self) -> None:
        """A package for each Debian release and kind of machine that there is a wheel for."""
        for release, version in DEBIAN.items():
            for machine in MACHINES:
                name = f"netbond-*-cp{version.replace('.', '')}-*{machine.name}.whl"
                wheel = next(self.out.glob(name), None)
                if wheel is None:
                    self.skipped.append(f"Debian {release}, {machine.debian}: there is no wheel {name}")
                    continue
                self._package(release, version, machine, wheel)

    def _package(self, release: str, python: str, machine: Machine, wheel: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder, "tree")
            sources = self.sources(Path(folder, "netbond"))
            site = tree / HOME.lstrip("/") / f"lib/python{python}/site-packages"
            site.mkdir(parents=True)
            self._install(wheel, site, python, machine)
            number = wheel.name.split("-")[1]
            _environment(tree, site, python)
            _system_files(tree, sources, site, self._some_tools())
            _documents(tree, sources, self.epoch)
            _control(tree, sources, f"{number}-1~deb{release}", python, machine)
            _even_out(tree, self.epoch)
            target = self.out / f"netbond_{number}-1~deb{release}_{machine.debian}.deb"
            command = [
                "dpkg-deb",
                "--root-owner-group",
                "-Zxz",
                "--threads-max=1",
                "--build",
                str(tree),
                str(target),
            ]
            subprocess.run(command, check=True, env=self.environment, stdout=subprocess.DEVNULL)
            say(target.name)

    def _install(self, wheel: Path, site: Path, python: str, machine: Machine, alone: bool = False) -> None:
        """The wheel and, unless alone, what it depends on, as PyPI has it for that machine."""
        pip: list[str] = [
            str(self._some_tools()),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "-q",
            "install",
        ]
        where = [f"--target={site}", "--no-compile", "--only-binary=:all:", "--no-deps"]
        tags = (machine.tag, f"manylinux2014_{machine.name}", f"manylinux_2_28_{machine.name}")
        which = [f"--python-version={python}", "--implementation=cp", *(f"--platform={tag}" for tag in tags)]
        parts = [] if alone else ["-r", str(ROOT / "scripts/package-requirements.txt")]
        subprocess.run([*pip, *where, *which, *parts, str(wheel)], check=True, env=self.environment)
        # pip's notes name places on the machine that builds; here dpkg knows what is installed.
        for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            for note in site.glob(f"*.dist-info/{name}"):
                note.unlink()

    # --- container images

    def image(self) -> None:
        """The receiver's image, for each kind of machine that there is a wheel for."""
        release, suite = IMAGE
        python = DEBIAN[release]
        for machine in MACHINES:
            what = f"container image, {machine.debian}"
            name = f"netbond-*-cp{python.replace('.', '')}-*{machine.name}.whl"
            wheel = next(self.out.glob(name), None)
            if wheel is None:
                self.skipped.append(f"{what}: there is no wheel {name}")
            elif shutil.which("mmdebstrap") is None:
                self.skipped.append(f"{what}: mmdebstrap is not installed (apt-get install mmdebstrap)")
            else:
                self._image(wheel, python, self._debian(suite, machine), machine)

    def _debian(self, suite: str, machine: Machine) -> Path:
        """Python and what it needs, as Debian has it today: an archive of files."""
        target = self.cache / f"debian-{suite}-{machine.debian}-{time.strftime('%F')}.tar"
        if not target.exists():
            say(f"Debian's files, {suite}, {machine.debian}")
            made = target.with_suffix(".new.tar")
            options = [
                "--quiet",
                "--variant=extract",
                "--include=python3",
                f"--architectures={machine.debian}",
            ]
            subprocess.run(["mmdebstrap", *options, suite, str(made)], check=True)
            made.rename(target)
        return target

    def _image(self, wheel: Path, python: str, packages: Path, machine: Machine) -> None:
        """The receiver needs no other Python package."""
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder, "tree")
            sources = self.sources(Path(folder, "netbond"))
            site = tree / HOME.lstrip("/") / f"lib/python{python}/site-packages"
            site.mkdir(parents=True)
            self._install(wheel, site, python, machine, alone=True)
            _environment(tree, site, python)
            shutil.rmtree(site / "share", ignore_errors=True)
            shutil.copy(sources / "contrib/container/netbond-healthy", tree / "usr/bin/netbond-healthy")
            self._start(
                sources / "contrib/container/netbond-start.c", tree / "usr/bin/netbond-start", machine
            )
            _write(
                tree / "usr/share/doc/netbond/copyright", (sources / "LICENSE").read_text(encoding="utf-8")
            )
            number = wheel.name.split("-")[1]
            image = container_image.receiver(number, machine.debian)
            files = container_image.layer(packages, tree, self.epoch)
            target = self.out / f"netbond-recv-image-{number}_{machine.debian}.tar"
            target.write_bytes(container_image.archive(image, files, self.epoch))
            say(f"{target.name} ({len(files) >> 20} MiB unpacked)")

    def _start(self, source: Path, target: Path, machine: Machine) -> None:
        """Compile what an image starts first; it needs no library."""
        options = [
            "-target",
            f"{machine.name}-linux-musl",
            "-static",
            "-Os",
            "-s",
            "-o",
            str(target),
            str(source),
        ]
        zig = {f"ZIG_{kind}_CACHE_DIR": str(self.cache / "zig") for kind in ("GLOBAL", "LOCAL")}
        command = [str(self._some_tools()), "-m", "ziglang", "cc", *options]
        subprocess.run(command, check=True, cwd=source.parent, env=self.environment | zig)

    # --- papers

    def sbom(self) -> None:
        """What a package consists of, as CycloneDX (1.6) has it."""
        lock = (ROOT / "scripts/package-requirements.txt").read_text(encoding="utf-8")
        parts = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock, re.MULTILINE)
        version = re.search(
            r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
        )
        number = version[1] if version else ""
        bom = {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "name": "netbond",
                    "version": number,
                    "bom-ref": f"pkg:pypi/netbond@{number}",
                    "licenses": [{"license": {"id": "MIT"}}],
                }
            },
            "components": [
                {
                    "type": "library",
                    "name": name,
                    "version": number,
                    "bom-ref": f"pkg:pypi/{name}@{number}",
                    "purl": f"pkg:pypi/{name}@{number}",
                }
                for name, number in parts
            ],
            "dependencies": [
                {
                    "ref": f"pkg:pypi/netbond@{number}",
                    "dependsOn": [f"pkg:pypi/{name}@{number}" for name, number in parts],
                }
            ],
        }
        target = self.out / f"netbond-{number}.cdx.json"
        target.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
        say(target.name)

    def checksums(self) -> None:
        """SHA256SUMS of all that lies in the folder."""
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(self.out.iterdir())
            if path.name.startswith("netbond")
        ]
        (self.out / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _real_python(name: str, version: str) -> str | None:
    """The program of this name, if it is that version of Python."""
    place = shutil.which(name)
    if place is None:
        return None
    code = "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([place, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout.split()[1:] == [version] else None


def _ask(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _environment(tree: Path, site: Path, python: str) -> None:
    """Make it a virtual environment of the system's Python."""
    home = tree / HOME.lstrip("/")
    shutil.rmtree(site / "bin", ignore_errors=True)
    (home / "bin").mkdir()
    for name in ("python", "python3", f"python{python}"):
        (home / "bin" / name).symlink_to(f"/usr/bin/python{python}")
    _write(home / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    script = "import sys\nfrom netbond.cli import main\nsys.exit(main())\n"
    _write(home / "bin/netbond", f"#!{HOME}/bin/python3\n{script}", 0o755)
    link = tree / "usr/bin/netbond"
    link.parent.mkdir(parents=True)
    link.symlink_to("../lib/netbond/bin/netbond")


def _system_files(tree: Path, sources: Path, site: Path, python: Path) -> None:
    """Units, hooks, completion, the manual page, and where things must be writable."""
    shutil.rmtree(site / "share", ignore_errors=True)
    contrib = sources / "contrib"
    for unit in ("netbond.service", "netbond-recv.service"):
        text = (contrib / "systemd" / unit).read_text(encoding="utf-8")
        text = text.replace("/opt/netbond/bin/netbond", "/usr/bin/netbond")
        _write(tree / "lib/systemd/system" / unit, text)
    for source, place, mode in (
        ("dhclient-hooks/netbond", "etc/dhcp/dhclient-exit-hooks.d/netbond", 0o644),
        ("nm-dispatcher/netbond", "etc/NetworkManager/dispatcher.d/90-netbond", 0o755),
        ("dhcpcd-hooks/90-netbond", "usr/lib/dhcpcd/dhcpcd-hooks/90-netbond", 0o644),
    ):
        _write(tree / place, (contrib / source).read_text(encoding="utf-8"), mode)
    # The command makes completion, the manual page and the drop-ins; ask that of the sources.
    code = (
        "import json; from netbond.cli.words import generated; import netbond.installation.contents as c\n"
        "print(json.dumps([generated(), c.DHCPCD, c.TMPFILES, c.NETWORKD]))"
    )
    environment = {"PYTHONPATH": str(sources), "PATH": os.environ["PATH"]}
    command = [str(python), "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    shared, dhcpcd, tmpfiles, networkd = json.loads(done.stdout)
    for place, text in shared.items():
        folder = place.replace("zsh/site-functions", "zsh/vendor-completions")
        _write(tree / "usr/share" / folder, text)
    _write(tree / "lib/systemd/system/dhcpcd.service.d/netbond.conf", dhcpcd)
    _write(tree / "usr/lib/tmpfiles.d/netbond.conf", tmpfiles)
    user = (contrib / "systemd/netbond.sysusers.conf").read_text(encoding="utf-8")
    _write(tree / "usr/lib/sysusers.d/netbond.conf", user)
    _write(tree / "usr/lib/systemd/networkd.conf.d/netbond.conf", networkd)


def _documents(tree: Path, sources: Path, epoch: int) -> None:
    """What Debian asks for, and the documentation."""
    import gzip

    folder = tree / "usr/share/doc/netbond"
    folder.mkdir(parents=True)
    for name in ("README.md", *(f"docs/{path.name}" for path in sorted((sources / "docs").glob("*.md")))):
        _write(folder / name, (sources / name).read_text(encoding="utf-8"))
    licence = (sources / "LICENSE").read_text(encoding="utf-8")
    _write(folder / "copyright", licence)
    for source, target in (("CHANGELOG.md", folder / "changelog.gz"),):
        data = (sources / source).read_bytes()
        target.write_bytes(gzip.compress(data, 9, mtime=0))
    page = tree / "usr/share/man/man1/netbond.1"
    page.with_suffix(".1.gz").write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))
    page.unlink()


def _control(tree: Path, sources: Path, number: str, python: str, machine: Machine) -> None:
    """The package's own files."""
    following = f"{python.split('.', maxsplit=1)[0]}.{int(python.split('.')[1]) + 1}"
    size = sum(path.lstat().st_size for path in tree.rglob("*")) // 1024
    control = f"""\
Package: netbond
Version: {number}
Architecture: {machine.debian}
Maintainer: netbond <netbond@example.org>
Installed-Size: {size}
Depends: python3 (>= {python}), python3 (<< {following}), iproute2, libc6 (>= 2.28), systemd
Recommends: nftables
Section: net
Priority: optional
Description: routes and bonds the uplinks of a box with several modems
 netbond keeps a routing table per interface, source rules and a weighted
 default in sync as modems come and go, and carries an SRT stream over all
 of them at once (SRTLA). It brings its own virtual environment in
 {HOME}.
"""
    _write(tree / "DEBIAN/control", control)
    conffiles = sorted(f"/{path.relative_to(tree)}" for path in (tree / "etc").rglob("*") if path.is_file())
    _write(tree / "DEBIAN/conffiles", "".join(f"{path}\n" for path in conffiles))
    for name in ("postinst", "prerm", "postrm"):
        text = (sources / "contrib/debian" / name).read_text(encoding="utf-8")
        _write(tree / "DEBIAN" / name, text, 0o755)
    sums = []
    for path in sorted(tree.rglob("*")):
        place = path.relative_to(tree)
        if path.is_file() and not path.is_symlink() and place.parts[0] not in ("DEBIAN", "etc"):
            sums.append(f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {place}\n")
    _write(tree / "DEBIAN/md5sums", "".join(sums))


def _even_out(tree: Path, epoch: int) -> None:
    """Modes and times that do not depend on who builds, and when."""
    for path in (tree, *_below(tree)):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable and path.suffix != ".so" else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _below(tree: Path) -> Iterator[Path]:
    # Folders last: writing into them would change their times.
    yield from sorted(tree.rglob("*"), key=lambda path: -len(path.parts))


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description="Build sdist, wheels, Debian packages, SBOM and checksums.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER")
    parser.add_argument("--cache", type=Path, default=ROOT / ".build", metavar="FOLDER")
    kinds = ("sdist", "pure", "wheels", "deb", "image", "sbom")
    parser.add_argument("what", nargs="*", choices=[[], *kinds], metavar="{" + ",".join(kinds) + "}")
    args = parser.parse_args()
    build = Build(args.out.resolve(), args.cache.resolve())
    for what in args.what or kinds:
        getattr(build, what)()
    build.checksums()
    for line in build.skipped:
        say(f"NOT BUILT: {line}")


if __name__ == "__main__":
    main()
