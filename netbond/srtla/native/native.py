"""Loads the data path in C (fastpath.c): as an extension of Python, or as a library for ctypes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import ModuleType

LIBRARY = Path(__file__).with_name("_fastpath.so")


def _load_extension() -> ModuleType | None:
    if os.environ.get("NETBOND_PURE"):
        return None
    try:
        from netbond.srtla.native import _fastpath
    except ImportError:
        return None
    return _fastpath


def _load_library() -> ctypes.CDLL | None:
    if os.environ.get("NETBOND_PURE"):
        return None
    try:
        return ctypes.CDLL(str(extension.__file__ if extension is not None else LIBRARY))
    except OSError:
        return None


# At import: later, as another user, the files may be out of reach.
extension = _load_extension()
library = _load_library()
