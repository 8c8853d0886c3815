"""Runs only the udev watcher, in the current namespace, and prints a JSON line at each change."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from netbond.status.schema import HardwareStatus
from netbond.system.typed_json import to_json
from netbond.watchers.udev import Udev


async def main(control: str) -> None:
    look = asyncio.Event()
    udev = Udev(control=Path(control))
    udev.start(look.set)
    look.set()
    shown = ""
    while True:
        # The agent also gets netlink's events; here, a short tick replaces them.
        try:
            async with asyncio.timeout(0.05):
                await look.wait()
        except TimeoutError:
            pass
        look.clear()
        devices = {d.name: to_json(HardwareStatus.of(d)) for d in udev.devices() if d.name != "lo"}
        line = json.dumps({"problem": udev.problem, "devices": devices})
        if line != shown:
            print(line, flush=True)
            shown = line


asyncio.run(main(sys.argv[1]))
