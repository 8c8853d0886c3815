"""SRTLA, both ends: one SRT stream over several links. Nothing here imports the agent.

The modules of the packets' path are also compiled, by mypyc from the very same files, where there is a
compiler when netbond is installed (hatch_build.py). They then lie in `_compiled`, and are taken from there
only as long as the files are what was compiled. NETBOND_PURE=1 in the environment leaves all compiled parts
aside.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

# Modules that mypyc compiles, and the file in `_compiled` that tells of which text.
COMPILED = (
    "adaptive.bonding",
    "adaptive.dealing",
    "adaptive.diagnosis",
    "adaptive.linkmodel",
    "adaptive.linkqueue",
    "classic.classic",
    "classic.flight",
    "link",
    "process.carriage",
    "process.loop",
    "process.sending",
    "process.wakeup",
    "receiver.receiver",
    "schedule",
    "sender",
    "wire",
)
DIGEST = "DIGEST"


def digest(folder: str) -> str:
    """Of the modules to be compiled, as they are in `folder`."""
    import hashlib

    state = hashlib.sha256()
    for name in COMPILED:
        path = os.path.join(folder, *name.split(".")) + ".py"  # noqa: PTH118 - pathlib takes 5 ms
        with open(path, "rb") as file:  # noqa: PTH123
            state.update(file.read())
    return state.hexdigest()


class _Compiled:
    """Finds the compiled modules before Python's own finder sees their sources."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._suffix: str | None = None  # of the compiled modules' files; "": there are none to use

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """As importlib asks: where the module of this name is, None if it is not one of these."""
        name = fullname.removeprefix("netbond.srtla.")
        if name == fullname or name not in COMPILED:
            return None
        if self._suffix is None:  # not sooner: the agent imports messages and types only
            self._suffix = _load_shared(self._folder)
        if not self._suffix:
            return None
        import importlib.util

        file = os.path.join(self._folder, "_compiled", name + self._suffix)  # noqa: PTH118
        return importlib.util.spec_from_file_location(fullname, file)


def _load_shared(folder: str) -> str:
    """Load the code that all compiled modules share; the suffix of their files, or "".

    "": there are none, or they were made from other sources or for another Python.
    """
    import importlib.util
    from importlib.machinery import EXTENSION_SUFFIXES

    compiled = os.path.join(folder, "_compiled")  # noqa: PTH118
    shared = "netbond_srtla__mypyc"
    try:
        with open(os.path.join(compiled, DIGEST), encoding="ascii") as file:  # noqa: PTH118, PTH123
            if file.read() != digest(folder):
                return ""
    except OSError:
        return ""
    path = os.path.join(compiled, shared + EXTENSION_SUFFIXES[0])  # noqa: PTH118
    spec = importlib.util.spec_from_file_location(shared, path)
    if spec is None or spec.loader is None or not os.path.exists(path):  # noqa: PTH110
        return ""
    module = importlib.util.module_from_spec(spec)
    sys.modules[shared] = module
    spec.loader.exec_module(module)
    return EXTENSION_SUFFIXES[0]


if not os.environ.get("NETBOND_PURE"):
    sys.meta_path.insert(0, _Compiled(__path__[0]))
