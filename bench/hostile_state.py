"""Starts an agent over state files that somebody or something has spoiled: routes, log, problems. Needs root.

    sudo .venv/bin/python bench/hostile_state.py            every kind
    sudo .venv/bin/python bench/hostile_state.py nested     one kind

An agent with a sender, a data plan, a lease and a weight that was set first writes its state files, and is
killed. Then each kind of harm is done to all of them, or to the folders that hold them, and an agent starts;
the same once more for the record of defaults that were taken out of main. A start survives if the uplinks
that the kernel itself knows are routed within 10 s, the log has no traceback and no line of more than 700
characters, and the agent ends within 5 s of SIGTERM.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.shortage import ended_after_s
from netbond.status.control import request
from tests.netns.box import Box, wait_for

TAKE = '[routing]\nlayout = "classic"\ntake_over_default = true\n'
CONFIG = """
[[uplink]]
match = "usb0"
budget = "1GB"
[[sender]]
listen = "127.0.0.1:6000"
receiver = "10.0.0.1:5000"
"""


def _rewritten(path: Path, change: Callable[[object], object]) -> None:
    """Replace each value of the file's JSON."""

    def walk(value: object) -> object:
        if isinstance(value, dict):
            return {key: item if key in ("kind", "version") else walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return change(value)

    text = path.read_text()
    parts = text.splitlines() if path.suffix == ".jsonl" else [text]
    lines = [json.dumps(walk(json.loads(part))) for part in parts]
    path.write_text("\n".join(lines) + "\n")


def _link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def _elsewhere(path: Path) -> None:
    """A link to a good copy, which another user could exchange."""
    copy = path.with_name(path.name + ".copy")
    path.rename(copy)
    path.symlink_to(copy)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


KINDS: dict[str, Callable[[Path], object]] = {
    "nested": lambda path: path.write_text("[" * 8000),
    "nested object": lambda path: path.write_text('{"a":' * 1600),
    "nested in a key": lambda path: _rewritten(path, lambda _: json.loads("[" * 900 + "]" * 900)),
    "foreign": lambda path: os.chown(path, 61001, 61001),
    "writable": lambda path: path.chmod(0o666),
    "link": _elsewhere,
    "dangling link": lambda path: _link(path, Path("/nonexistent")),
    "device": lambda path: _link(path, Path("/dev/zero")),
    "fifo": _fifo,
    "directory": _folder,
    "empty": lambda path: path.write_text(""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "bytes": lambda path: path.write_bytes(os.urandom(4096)),
    "large": lambda path: os.truncate(path, 1 << 30),
    "null": lambda path: _rewritten(path, lambda _: None),
    "list": lambda path: _rewritten(path, lambda _: []),
    "large numbers": lambda path: _rewritten(path, lambda _: 10**300),
    "escapes": lambda path: _rewritten(path, lambda _: "\x1b[2J" + "A" * 300),
}
FOLDERS: dict[str, Callable[[Path], object]] = {
    "folders: files": lambda path: (shutil.rmtree(path), path.write_text("")),
    "folders: links": _elsewhere,
    "folders: foreign": lambda path: os.chown(path, 61001, 61001),
    "folders: writable": lambda path: path.chmod(0o777),
}


def prepare(box: Box, *, take: bool) -> None:
    for number in range(2):
        box.plug(f"usb{number}", number)
    box.ip("link", "set", "lo", "up")
    box.configure((TAKE if take else "") + CONFIG)
    box.start()
    lease = {
        "device": "usb1",
        "source": "dhclient",
        "address": "10.0.1.10/24",
        "routers": ["10.0.1.1"],
        "received": 1.0,
        "ifindex": 0,
        "boot": "",
    }
    leases = box.folder / "state" / "leases"
    leases.mkdir(mode=0o700, exist_ok=True)
    (leases / "usb1.json").write_text(json.dumps({"kind": "lease", "version": 1, **lease}))
    wait_for((box.folder / "state/engines").exists, 10, "the sender's state")
    override = {"command": "set", "uplink": "usb1", "what": "weight", "value": 2, "for_s": 3600}
    assert request(box.folder / "control.sock", override)["ok"]
    words = box.command("set", "usb1", "weight", "2", "--config", str(box.config_file))
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    time.sleep(1)
    box.stop(signal.SIGKILL)  # so that nothing is put back
    old = Path(__file__).parents[1] / "tests/unit/across/state_0_1"
    for name in ("networkmanager.json", "roaming.json"):
        shutil.copy(old / name, box.folder / "state" / name)
        (box.folder / "state" / name).chmod(0o600)


def tried(box: Box, kind: str, *, take: bool) -> str:
    """What went wrong; "" if nothing."""
    roots = [box.folder / "state", box.folder / "data"]
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    if take:
        files = [path for path in files if path.name == "defaults.json"]
    if kind in KINDS:
        for path in files:
            KINDS[kind](path)
    else:
        for path in (box.folder / "state" / name for name in ("leases", "learned", "engines")):
            if path.exists():
                FOLDERS[kind](path)
    with box.log.open("a") as log:
        command = box.command("run", "--config", str(box.config_file))
        process = subprocess.Popen(command, stderr=log, text=True, env=os.environ | box.environment)
    wrong = []
    try:
        wait_for(lambda: process.poll() is not None or box.answers(), 2.5, "it runs")
        if process.poll() is not None:
            wrong.append("it ended by itself")
        elif box.table(222).count("nexthop") + box.table(222).count("nhid") < 1:
            wrong.append(f"the shared default is {box.table(222)!r}")
    except AssertionError as error:
        wrong.append(str(error))
    took = ended_after_s(process)
    if took > 5:
        wrong.append(f"it ended {took:.1f} s after SIGTERM")
    text = box.log.read_text()
    if "Traceback" in text or "a bug in netbond" in text or "\x1b" in text:
        wrong.append(text[-3000:])
    longest = max(map(len, text.splitlines()))
    if longest > 700:
        wrong.append(f"a line of {longest} characters")
    spoiled = "defaults.json" if take else f"{len(files)} files"
    print(f"{kind:20} {spoiled}: {'; '.join(wrong) or 'survived'}; {took:.1f} s to end")
    for line in text.splitlines():
        if " WARNING " in line or " ERROR " in line:
            print("    " + line[:200])
    return "; ".join(wrong)


def main() -> None:
    kinds = sys.argv[1:] or [*KINDS, *FOLDERS]
    runs = [(kind, take) for take in (False, True) for kind in kinds if not take or kind in KINDS]
    failed = 0
    for kind, take in runs:
        with tempfile.TemporaryDirectory() as folder, Box(Path(folder)) as box:
            prepare(box, take=take)
            failed += bool(tried(box, kind, take=take))
    print(f"{len(runs) - failed} of {len(runs)} survived")


if __name__ == "__main__":
    main()
