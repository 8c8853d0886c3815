"""Lets this process open sockets in other network namespaces. Needs root."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Move this thread into a namespace during the block; a socket that it opens there stays there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(descriptor: int) -> None:
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    with (
        Path("/proc/thread-self/ns/net").open("rb") as here,
        Path(f"/run/netns/{namespace}").open("rb") as there,
    ):
        enter(there.fileno())
        try:
            yield
        finally:
            enter(here.fileno())
