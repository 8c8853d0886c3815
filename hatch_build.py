"""Builds the compiled parts of netbond/srtla where a C compiler is there.

- fastpath.c, the data path: with Python's headers as an extension (fastmodule.c), else as a library for
  ctypes.
- With the headers, mypyc also compiles the modules that see each packet (netbond/srtla/__init__.py has their
  list). Their one source is the Python file.

netbond works without all of it, so nothing here fails a build. NETBOND_PURE=1 in the environment builds
nothing.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SRTLA = Path("netbond/srtla")
NATIVE = SRTLA / "native"
GROUP = "netbond_srtla"  # names the file with the code of all modules
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
MYPYC = """
import sys
from mypyc.build import mypycify
from setuptools import setup

out, temporary, group, *sources = sys.argv[1:]
options = ["--config-file=", "--ignore-missing-imports", f"--cache-dir={temporary}", *sources]
modules = mypycify(options, group_name=group, opt_level="2", debug_level="0", target_dir=temporary)
setup(
    name=group,
    packages=[],
    ext_modules=modules,
    script_args=["-q", "build_ext", "--build-lib", out, "--build-temp", temporary],
)
"""


class CustomBuildHook(BuildHookInterface[Any]):
    """Run by hatchling before it makes a wheel, an editable one included."""

    def dependencies(self) -> list[str]:
        """mypyc comes with mypy, and builds with setuptools."""
        return (
            ["mypy>=1.11", "setuptools"] if self.target_name == "wheel" and _compiler() and _headers() else []
        )

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this machine."""
        compiler = _compiler()
        if self.target_name != "wheel" or not compiler:
            return
        root = Path(self.root)
        library = compile_fastpath(root, compiler)
        modules = compile_modules(root) if _headers() else []
        if library is None and not modules:
            return
        build_data["pure_python"] = False
        python = f"cp{sys.version_info.major}{sys.version_info.minor}"
        tag = f"{python}-{python}" if _headers() else "py3-none"
        build_data["tag"] = f"{tag}-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"] += [str(each.relative_to(root)) for each in [library, *modules] if each]


def compile_fastpath(root: Path, compiler: str) -> Path | None:
    """The data path; what was built, if it could be."""
    folder = root / NATIVE
    flags = ["-O2", "-fPIC", "-shared"]
    library = folder / "_fastpath.so"
    if _headers():
        flags += ["-I", sysconfig.get_path("include"), str(folder / "fastmodule.c")]
        library = folder / ("_fastpath" + SUFFIX)
    else:
        flags.append(str(folder / "fastpath.c"))
    new = library.with_name(library.name + ".new")
    if subprocess.run([compiler, *flags, "-o", str(new)], check=False).returncode != 0:
        print("netbond: the data path was not compiled; Python does its work", file=sys.stderr)
        return None
    new.replace(library)  # a running engine keeps the file it has loaded
    return library


def compile_modules(root: Path) -> list[Path]:
    """The modules that see each packet; what was built, if it could be."""
    folder = root / SRTLA
    package = runpy.run_path(str(folder / "__init__.py"), init_globals={"__path__": [str(folder)]})
    compiled = folder / "_compiled"
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "out")
        sources = [str(SRTLA.joinpath(*name.split(".")).with_suffix(".py")) for name in package["COMPILED"]]
        command = [sys.executable, "-c", MYPYC, str(out), temporary, GROUP, *sources]
        if subprocess.run(command, cwd=root, check=False).returncode != 0:
            print("netbond: mypyc could not compile; Python runs the modules as they are", file=sys.stderr)
            return []
        new = Path(temporary, "new")
        new.mkdir()
        for built in out.rglob(f"*{SUFFIX}"):
            # netbond/srtla/process/loop.SUFFIX as process.loop.SUFFIX; what they share lies at the top.
            place = built.relative_to(out)
            inside = place.relative_to(SRTLA) if place.is_relative_to(SRTLA) else place
            shutil.copy(built, new / ".".join(inside.parts))
        (new / package["DIGEST"]).write_text(package["digest"](str(folder)), encoding="ascii")
        shutil.rmtree(compiled, ignore_errors=True)
        shutil.copytree(new, compiled)
    return sorted(compiled.iterdir())


def _compiler() -> str | None:
    return None if os.environ.get("NETBOND_PURE") else os.environ.get("CC") or shutil.which("cc")


def _headers() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").exists()
