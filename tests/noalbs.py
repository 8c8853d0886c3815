"""What NOALBS takes from a page of statistics: the rules by which it reads one, for tests.

Of NOALBS 2.x, server types "Belabox" and "SrtLiveServer": a page counts with status 200; below "publishers"
it has the publisher's name; there each field must be there with its type; more fields do no harm. Whatever
else is "offline". An integer is no float with a fraction of zero.
"""

from __future__ import annotations

import json
from typing import Any

INTEGERS = {"i32": (-(1 << 31), (1 << 31) - 1), "i64": (-(1 << 63), (1 << 63) - 1), "u64": (0, (1 << 64) - 1)}
BELABOX = {"bitrate": "i64", "rtt": "f64", "dropped_pkts": "i32"}
SRT_LIVE_SERVER = {
    "bitrate": "i64",
    "bytesRcvDrop": "u64",
    "bytesRcvLoss": "u64",
    "mbpsBandwidth": "f64",
    "mbpsRecvRate": "f64",
    "msRcvBuf": "i32",
    "pktRcvDrop": "i32",
    "pktRcvLoss": "i32",
    "rtt": "f64",
    "uptime": "i64",
}


def read(status: int, text: str, publisher: str, kind: dict[str, str]) -> dict[str, Any] | None:
    """The fields of one type that NOALBS gets; None: it takes the publisher for offline."""
    if status != 200:
        return None
    try:
        page = json.loads(text)
    except ValueError:
        return None
    publishers = page.get("publishers") if isinstance(page, dict) else None
    found = publishers.get(publisher) if isinstance(publishers, dict) else None
    if not isinstance(found, dict):
        return None
    for name, wanted in kind.items():
        value = found.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if wanted in INTEGERS:
            low, high = INTEGERS[wanted]
            if not isinstance(value, int) or not low <= value <= high:
                return None
    return {name: found[name] for name in kind}
