"""SRTLA, both ends: one SRT stream over several links. Nothing here imports the agent.

There are two flavours. *Compiled*: the data path in C (native/fastmodule.c) and the modules of the packets'
path, compiled by mypyc from the very same files, lie in `_compiled`, if there was a C compiler when netbond
was installed (hatch_build.py). *Pure*: Python runs everything. Compiled parts are used all together, and only
as long as the files are what was compiled; NETBOND_PURE=1 in the environment leaves them aside.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Literal

# Modules that mypyc compiles, what else is compiled, and the file in `_compiled` that tells of which text.
COMPILED = (
    "adaptive.advising",
    "adaptive.bonding",
    "adaptive.capacity",
    "adaptive.control",
    "adaptive.dealing",
    "adaptive.linkmodel",
    "adaptive.losses",
    "adaptive.pacer",
    "adaptive.packets",
    "adaptive.parameters",
    "adaptive.path",
    "adaptive.probing",
    "adaptive.rate",
    "classic.classic",
    "classic.flight",
    "keyframes",
    "link",
    "passing",
    "process.carriage",
    "process.loop",
    "process.sending",
    "process.wakeup",
    "receiver.groups",
    "receiver.receiver",
    "receiver.room",
    "schedule",
    "sender",
    "senderadvice",
    "wire",
)
C_SOURCES = ("native/fastmodule.c", "native/fastpath.c")
EXTENSION = "native._extension"  # made of these
SHARED = "netbond_srtla"  # names the file with the code of all modules that mypyc compiles
DIGEST = "DIGEST"


def digest(folder: str) -> str:
    """Of the files to be compiled, as they are in `folder`."""
    import hashlib

    state = hashlib.sha256()
    for name in (*(f"{module.replace('.', '/')}.py" for module in COMPILED), *C_SOURCES):
        with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123 - pathlib takes 5 ms
            state.update(file.read())
    return state.hexdigest()


class _Compiled:
    """Finds the compiled modules before Python's own finder sees their sources."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._why_pure: str | None = (
            None  # None: not looked at yet: the agent imports messages and types only
        )
        self.extension: ModuleType | None = None

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """As importlib asks: where the module of this name is, None if it is not one of these."""
        name = fullname.removeprefix("netbond.srtla.")
        if name == fullname or name not in COMPILED or self.why_pure():
            return None
        return _spec(fullname, self._file(name))

    def why_pure(self) -> str:
        """Load what all compiled modules need, at the first call; why that is impossible, "" if it is not."""
        if self._why_pure is None:
            self._why_pure = self._load()
        return self._why_pure

    def _load(self) -> str:
        if os.environ.get("NETBOND_PURE"):
            return "NETBOND_PURE is set in the environment"
        compiler = "install a C compiler and Python's headers (Debian: gcc python3-dev), then netbond again"
        try:
            with open(self._path(DIGEST), encoding="ascii") as file:  # noqa: PTH123
                made_of = file.read()
            if made_of != digest(self._folder):
                return "its compiled parts were made from other files; install netbond again"
            shared = f"{SHARED}__mypyc"
            if not all(os.path.exists(self._file(name)) for name in (shared, EXTENSION, *COMPILED)):  # noqa: PTH110
                return f"its compiled parts are incomplete or for another Python; {compiler}"
            _load_module(shared, self._file(shared))
            self.extension = _load_module(f"netbond.srtla.{EXTENSION}", self._file(EXTENSION))
        except OSError:
            return f"nothing was compiled when it was installed; {compiler}"
        except ImportError as error:
            return f"its compiled parts cannot be loaded ({error}); install netbond again"
        return ""

    def _file(self, name: str) -> str:
        from importlib.machinery import EXTENSION_SUFFIXES

        return self._path(name + EXTENSION_SUFFIXES[0])

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, "_compiled", name)  # noqa: PTH118


def _spec(name: str, file: str) -> ModuleSpec:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise ImportError(name)
    return spec


def _load_module(name: str, file: str) -> ModuleType:
    import importlib.util

    spec = _spec(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if spec.loader is not None:
        spec.loader.exec_module(module)
    return module


_compiled = _Compiled(__path__[0])
if not os.environ.get("NETBOND_PURE"):
    sys.meta_path.insert(0, _compiled)


def flavour() -> Literal["compiled", "pure"]:
    """Which flavour of the engines this process has."""
    return "pure" if why_pure() else "compiled"


def why_pure() -> str:
    """Why it is the pure one, and what to do; "" if it is not. "netbond is pure: " goes before it."""
    return _compiled.why_pure()


def extension() -> ModuleType | None:
    """The data path in C; None: this is the pure flavour."""
    return None if why_pure() else _compiled.extension
