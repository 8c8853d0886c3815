"""The README's promise on a fresh machine: git, python3, sudo; a clone; scripts/demo and scripts/test.

usage: python -m tests.vm.fresh --demo|--no-demo [ARGUMENT OF scripts/test...]      (scripts/vm calls it)

The output comes as it is made and stays in fresh/job.log. Exit status 1 if anything failed. Emulated, a
machine is some ten times slower than a real one: a stream that loses packets in it says little.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading
from pathlib import Path

from tests.vm.image import CLONE, checkout, say, trust
from tests.vm.qemu import Machine, MachineError

MEMORY = 3072  # MiB
TIMEOUT = {"demo": 1800.0, "test": 7200.0}  # s


def follow(log: Path, done: threading.Event) -> None:
    """Show what is written to a file until `done`, and then what is left."""
    with log.open("rb") as lines:
        while True:
            last = done.wait(0.5)
            sys.stdout.buffer.write(lines.read())
            sys.stdout.flush()
            if last:
                return


def main() -> int:
    """The command line."""
    demo, *arguments = sys.argv[1:]
    state = Path(os.environ["NETBOND_VM_STATE"]).resolve()
    folder = state / "fresh"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "job.log"
    log.touch()
    commands = {"demo": "sudo scripts/demo --plain"} if demo == "--demo" else {}
    commands["test"] = shlex.join(["sudo", "scripts/test", *arguments])
    failed = []
    done = threading.Event()
    showing = threading.Thread(target=follow, args=(log, done))
    showing.start()
    try:
        disc = checkout(folder)
        image = state / "base.raw"
        with Machine(image, state / "boot", folder, memory=MEMORY, internet=True, disks=[disc]) as machine:
            trust(machine)
            machine.run(CLONE % {"folder": "/home/user/netbond"})
            machine.run("chown -R user: /home/user/netbond")
            for name, command in commands.items():
                say(f"on the fresh machine: {command}")
                inside = shlex.quote(f"cd netbond && {command}")
                status = machine.log_job(f"su - user -c {inside}", timeout=TIMEOUT[name])
                say(f"{command}: exit status {status}")
                if status:
                    failed.append(name)
            left = machine.out("ip netns; ip rule | grep -v -E '^(0|32766|32767):' || true")
            if left.strip():
                say(f"left behind: {left}")
                failed.append("cleaning up")
    except MachineError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    finally:
        done.set()
        showing.join()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
