"""Builds the compiled parts of netbond/srtla where there are a C compiler and Python's headers.

- The data path in C (native/fastmodule.c) becomes an extension of Python.
- mypyc compiles the modules that see each packet (netbond/srtla/__init__.py has their list). Their one source
  is the Python file.

All of it, or nothing: then netbond is the pure flavour, which works as well, so nothing here fails a build.
NETBOND_PURE=1 in the environment builds nothing.
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
# scripts/build compiles for other machines, too: both are variables that setuptools and sysconfig know.
SUFFIX = os.environ.get("SETUPTOOLS_EXT_SUFFIX") or str(sysconfig.get_config_var("EXT_SUFFIX"))
BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import Extension, setup

out, temporary, group, extension, c_source, *sources = sys.argv[1:]
options = ["--config-file=", "--ignore-missing-imports", f"--cache-dir={temporary}", *sources]
modules = mypycify(options, group_name=group, opt_level="2", debug_level="0", target_dir=temporary)
setup(
    name=group,
    packages=[],
    ext_modules=[*modules, Extension(extension, [c_source], extra_compile_args=["-O2"])],
    script_args=["-q", "build_ext", "--build-lib", out, "--build-temp", temporary],
)
"""


class CustomBuildHook(BuildHookInterface[Any]):
    """Run by hatchling before it makes a wheel, an editable one included."""

    def dependencies(self) -> list[str]:
        """mypyc comes with mypy, and builds with setuptools."""
        return ["mypy>=1.11", "setuptools"] if self.target_name == "wheel" and _can_compile() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this machine."""
        if self.target_name != "wheel" or not _can_compile():
            return
        root = Path(self.root)
        built = compile_all(root)
        if not built:
            return
        build_data["pure_python"] = False
        python = f"cp{sys.version_info.major}{sys.version_info.minor}"
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"{python}-{python}-{platform}"
        build_data["artifacts"] += [str(each.relative_to(root)) for each in built]


def compile_all(root: Path) -> list[Path]:
    """What was built, nothing if it could not be; what there was before is then still there."""
    folder = root / SRTLA
    package = runpy.run_path(str(folder / "__init__.py"), init_globals={"__path__": [str(folder)]})
    compiled = folder / "_compiled"
    digest = package["digest"](str(folder))  # before: a file that changes meanwhile is not what was compiled
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "out")
        sources = [str(SRTLA.joinpath(*name.split(".")).with_suffix(".py")) for name in package["COMPILED"]]
        extension = ".".join((*SRTLA.parts, package["EXTENSION"]))
        names = [package["SHARED"], extension, str(SRTLA / package["C_SOURCES"][0])]
        command = [sys.executable, "-c", BUILD, str(out), temporary, *names, *sources]
        if subprocess.run(command, cwd=root, check=False).returncode != 0:
            print("netbond: it could not be compiled; Python runs it as it is", file=sys.stderr)
            return []
        new = Path(temporary, "new")
        new.mkdir()
        for built in out.rglob(f"*{SUFFIX}"):
            # netbond/srtla/process/loop.SUFFIX as process.loop.SUFFIX; what they share lies at the top.
            place = built.relative_to(out)
            inside = place.relative_to(SRTLA) if place.is_relative_to(SRTLA) else place
            shutil.copy(built, new / ".".join(inside.parts))
        (new / package["DIGEST"]).write_text(digest, encoding="ascii")
        shutil.rmtree(compiled, ignore_errors=True)  # a running engine keeps the files that it has loaded
        shutil.copytree(new, compiled)
    return sorted(compiled.iterdir())


def _can_compile() -> bool:
    compiler = None if os.environ.get("NETBOND_PURE") else os.environ.get("CC") or shutil.which("cc")
    return compiler is not None and Path(sysconfig.get_path("include"), "Python.h").exists()
