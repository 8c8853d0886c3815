"""Builds the receiver's compiled data path (netbond/srtla/fastpath.c) where a C compiler is there.

netbond works without it, so nothing here fails a build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "netbond/srtla/fastpath.c"
LIBRARY = "netbond/srtla/_fastpath.so"


class CustomBuildHook(BuildHookInterface[Any]):
    """Run by hatchling before it makes a wheel, an editable one included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this machine."""
        compiler = os.environ.get("CC") or shutil.which("cc")
        if self.target_name != "wheel" or not compiler or os.environ.get("NETBOND_PURE"):
            return
        root = Path(self.root)
        new = root / (LIBRARY + ".new")
        command = [compiler, "-O2", "-fPIC", "-shared", "-o", str(new), str(root / SOURCE)]
        if subprocess.run(command, check=False).returncode != 0:
            print("netbond: the data path was not compiled; Python does its work", file=sys.stderr)
            return
        new.replace(root / LIBRARY)  # a running engine keeps the file it has loaded
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + _platform()
        build_data["artifacts"].append(LIBRARY)


def _platform() -> str:
    import sysconfig

    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
