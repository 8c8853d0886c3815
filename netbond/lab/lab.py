"""Makes and removes labs: a box with several modems and an internet, in network namespaces.

    with Lab("try", modems=4, twins=("usb2", "usb3")) as lab:
        lab.unplug("usb1")
        lab.box_exec(["ip", "rule"])

Everything that a lab makes has its name (namespaces and their processes, /etc/netns/NAME-*) or is in its
state folder. So `down` can remove all of it, also after a lab that was killed half way.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from netbond.errors import NetbondError, NotRunningError, UnavailableError, UsageError
from netbond.lab import boxfiles, cable, impair, netns, programs, remains, topology
from netbond.lab.needs import has_program, need_programs, need_root
from netbond.lab.netns import Process
from netbond.lab.remains import POLL_S, STATE_ROOT
from netbond.lab.topology import Modem, Topology
from netbond.status import control

DEFAULT_NAME = "nblab"
READY_TIMEOUT_S = 30.0  # for each process that the lab starts
DHCP_PORT = 67
LEASE_TIMEOUT_S = 15.0  # for all DHCP leases together


def names(modems: int) -> list[str]:
    """Return the names of the interfaces of a box with this number of modems."""
    return [f"usb{number}" for number in range(modems)]


class Lab:
    """One lab, by name: `up` makes it, `attach` finds an existing one, `down` removes it."""

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        modems: int = 4,
        *,
        devices: Sequence[str] = (),
        twins: Sequence[str | int] = (),
        links: Mapping[str, Sequence[str]] | None = None,
        lease_seconds: int = 3600,
        receiver: bool = False,
        agent: bool = False,
        dhcp: bool = True,
    ) -> None:
        """Describe a lab; only `up` makes it.

        `devices` (default usb0, usb1, ...) names the box's interfaces; `twins` names those whose modems have
        the same subnet and address, by name or number; `links` gives impairment words by device. `receiver`
        runs `netbond recv` in the internet, `agent` runs `netbond run` in the box. Without `dhcp` the box's
        interfaces get no DHCP client.
        """
        chosen = list(devices) or names(modems)
        for twin in twins:
            if isinstance(twin, int) and not 0 <= twin < len(chosen):
                raise UsageError(
                    f"there is no modem number {twin}", f"there are {len(chosen)}, counted from 0"
                )
        self.topology = topology.plan(
            name,
            chosen,
            [chosen[twin] if isinstance(twin, int) else twin for twin in twins],
            {device: tuple(words) for device, words in (links or {}).items()},
        )
        for modem in self.topology.modems:
            if impair.parse(modem.words).carrier is not None:
                raise UsageError(
                    f"{modem.device}: the initial carrier cannot be set",
                    "use netbond lab impair later",
                )
        if not 120 <= lease_seconds <= 7 * 86400:
            raise UsageError(
                f"a lease of {lease_seconds} s is not possible",
                "choose from 120 (dnsmasq's minimum) to 604800",
            )
        self._lease_seconds = lease_seconds
        self._receiver = receiver
        self._agent = agent
        self._dhcp = dhcp
        self._unplugged: set[str] = set()
        self._processes: dict[str, Process] = {}
        self.made = False  # whether `up` has begun, so that there is something to remove
        self.warnings: list[str] = []

    @classmethod
    def attach(cls, name: str = DEFAULT_NAME) -> Lab:
        """Return the lab of that name; NotRunningError if it is not up."""
        topology.check_name(name)
        need_root()
        lab = cls.__new__(cls)
        lab.made = True
        lab.warnings = []
        try:
            state = json.loads((STATE_ROOT / name / "state.json").read_text())
            lab._restore(state)
        except FileNotFoundError:
            raise NotRunningError(
                f"lab {name!r} is not up", "start it: netbond lab up" + _option(name)
            ) from None
        except (ValueError, KeyError, TypeError):
            raise NetbondError(
                f"lab {name!r} was made by another version of netbond",
                f"remove it: netbond lab down{_option(name)}",
            ) from None
        if not state["ready"]:
            raise NotRunningError(
                f"lab {name!r} did not come up", f"clean up: netbond lab down{_option(name)}"
            )
        return lab

    # --- its parts

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.topology.name

    @property
    def state_dir(self) -> Path:
        """The folder with the lab's state, sockets and logs, which only root can read."""
        return STATE_ROOT / self.name

    @property
    def config(self) -> Path:
        """The netbond configuration of the box."""
        return self.state_dir / "netbond.toml"

    @property
    def logs(self) -> Path:
        """The folder with the logs of the lab's programs."""
        return self.state_dir / "logs"

    def modem(self, device: str) -> Modem:
        """Return the modem of an interface of the box; UsageError names the existing ones."""
        return self.topology.modem(device)

    def is_plugged(self, device: str) -> bool:
        """Whether the modem is plugged in."""
        return self.modem(device).device not in self._unplugged

    # --- up and down

    def __enter__(self) -> Lab:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self, wait: bool = True) -> None:
        """Make the lab; with `wait`, return when every uplink has its lease. A failure leaves nothing."""
        need_root()
        need_programs()
        self.warnings += boxfiles.warnings()
        with remains.locked(self.name):
            if remains.is_running(self.name):
                raise NetbondError(
                    f"lab {self.name!r} is already up",
                    f"remove it (netbond lab down{_option(self.name)}) or choose another --name",
                )
            remains.clean(self.name)
            self.made = True
            try:
                self._build()
                if wait and self._dhcp:
                    self.wait_for_leases()
                if self._agent:
                    self._start_agent()
                self._save(ready=True)
            except BaseException:
                with remains.uninterrupted():
                    self._stop_everything()
                raise

    def down(self) -> None:
        """Remove the lab, or what a killed lab of this name has left; that may be nothing."""
        need_root()
        with remains.uninterrupted(), remains.locked(self.name):
            self._stop_everything()

    def _stop_everything(self) -> None:
        netns.stop(self._processes.values())  # also those that are not recorded on disk yet
        remains.clean(self.name)
        self.made = False
        self._processes.clear()
        self._unplugged.clear()

    def _build(self) -> None:
        lab = self.topology
        self.logs.mkdir(mode=0o700)
        self._save(ready=False)
        try:
            netns.ip_batch([f"netns add {name}" for name in lab.namespaces])
        except NetbondError:
            # If a lab of this name was killed, an `ip` that it had started may have run on while we cleaned
            # up.
            time.sleep(0.2)
            netns.delete(lab.namespaces)
            netns.ip_batch([f"netns add {name}" for name in lab.namespaces])
        boxfiles.write(lab, self.state_dir, sender=self._receiver)
        netns.ip_batch(["link set lo up", *map(topology.plug_command, lab.modems)], lab.box)
        with ThreadPoolExecutor(8) as pool:
            work = [pool.submit(self._build_modem, modem) for modem in lab.modems]
            work.append(pool.submit(self._build_net))
        for done in work:
            done.result()
        self._start_cable()
        for modem in lab.modems:
            self._start_dnsmasq(modem)
        if self._receiver:
            self._start_receiver()
        # Wait for the servers: a DHCP client that gets no answer asks again only after seconds.
        for modem in lab.modems:
            self._wait_for_port(modem.netns, DHCP_PORT, f"dnsmasq-{modem.device}")
        if self._receiver:
            self._wait_for_port(lab.net, topology.RECEIVER_PORT, "receiver")
        netns.ip_batch([f"link set {modem.device} up" for modem in lab.modems], lab.box)
        if self._dhcp:
            for modem in lab.modems:
                self._start_dhcp_client(modem)
        self._save(ready=False)

    def _build_modem(self, modem: Modem) -> None:
        def inside() -> None:
            netns.write_sysctls(
                {
                    "net/ipv6/conf/all/disable_ipv6": "1",
                    "net/ipv6/conf/default/disable_ipv6": "1",
                    "net/ipv4/ip_forward": "1",
                    "net/ipv4/conf/all/rp_filter": "0",
                    "net/ipv4/conf/default/rp_filter": "0",
                }
            )
            netns.ip_batch(topology.modem_commands(modem))
            result = subprocess.run(
                ["nft", "-f", "-"], check=False, input=topology.nat_rules(), capture_output=True, text=True
            )
            if result.returncode:
                reason = (result.stderr.strip() or "no reason given").splitlines()[0]
                raise UnavailableError(f"nft cannot set up NAT: {reason}", "does the kernel have nf_tables?")

        netns.call_in(modem.netns, inside)

    def _build_net(self) -> None:
        def inside() -> None:
            netns.write_sysctls(
                {
                    "net/ipv6/conf/all/disable_ipv6": "1",
                    "net/ipv6/conf/default/disable_ipv6": "1",
                    "net/ipv4/conf/all/rp_filter": "0",
                    "net/ipv4/conf/default/rp_filter": "0",
                }
            )
            netns.ip_batch(topology.net_commands(self.topology))

        netns.call_in(self.topology.net, inside)

    # --- its programs

    def _start_cable(self) -> None:
        lab = self.topology
        wires = [cable.Wire(m.device, m.netns, "radio0", lab.net, m.net_device, m.words) for m in lab.modems]
        file = self.state_dir / "wires.json"
        file.write_text(json.dumps([asdict(wire) for wire in wires]))
        self._start("cable", lab.net, programs.cable(self._cable_socket, file))
        self._wait_for(self._cable_socket.exists, "cable")

    @property
    def _cable_socket(self) -> Path:
        return self.state_dir / "cable.sock"

    def _start_dnsmasq(self, modem: Modem) -> None:
        self._start(f"dnsmasq-{modem.device}", modem.netns, programs.dnsmasq(modem, self._lease_seconds))

    def _start_dhcp_client(self, modem: Modem) -> None:
        with contextlib.suppress(FileNotFoundError):  # `wait_for_leases` must read only this client's log
            self._dhcp_log(modem.device).unlink()
        if has_program("dhclient"):
            command = programs.dhclient(modem.device, self.state_dir / "leases")
        else:
            command = programs.udhcpc(modem.device, boxfiles.udhcpc_script(self.state_dir))
        self._start(f"dhcp-{modem.device}", self.topology.box, command)

    def _dhcp_log(self, device: str) -> Path:
        return self.logs / f"dhcp-{device}.log"

    def _has_lease(self, device: str) -> bool:
        """Whether the client has finished: "bound to" is logged after address and hooks are done."""
        with contextlib.suppress(FileNotFoundError):
            return b"\nbound to " in self._dhcp_log(device).read_bytes()
        return False

    @property
    def _command(self) -> Path:
        """The command `netbond` for the lab's programs."""
        return self.state_dir / "bin" / "netbond"

    def _start_receiver(self) -> None:
        self._start("receiver", self.topology.net, programs.receiver(self._command))

    def start_agent(self) -> None:
        """Start `netbond run` in the box as the process "agent", and return when it answers."""
        with self._changing():
            self._start_agent()
            self._save(ready=True)

    def _start_agent(self) -> None:
        self._start("agent", self.topology.box, programs.agent(self._command, self.config))
        self._wait_for(self._agent_answers, "agent")

    def _agent_answers(self) -> bool:
        try:
            return bool(self.agent_status())
        except NetbondError:
            return False

    def agent_status(self) -> dict[str, Any]:
        """Return what `netbond status --json` shows in the box; NotRunningError if no agent runs there."""
        reply = control.request(self.state_dir / "box" / "control.sock", {"command": "status"})
        if not reply["ok"]:
            raise UnavailableError(f"the box's agent: {reply.get('error')}")
        return dict(reply["status"])

    def start(self, key: str, where: str, argv: Sequence[str]) -> Process:
        """Start a program in a namespace as the process `key`; its output goes to logs/KEY.log.

        It runs until `stop`, or until any process removes the lab.
        """
        with self._changing():
            process = self._start(key, where, argv)
            self._save(ready=True)
            return process

    def stop(self, *keys: str, grace_s: float = 2.0) -> None:
        """Stop the processes with these keys that run: SIGTERM, then SIGKILL after `grace_s`."""
        with self._changing():
            netns.stop([self._processes.pop(key) for key in keys if key in self._processes], grace_s)
            self._save(ready=True)

    @contextlib.contextmanager
    def owned(self, key: str) -> Iterator[None]:
        """Record that this process works in the lab; whoever removes the lab stops this process, too."""
        with self._changing():
            self._processes[key] = netns.identify(os.getpid())
            self._save(ready=True)
        try:
            yield
        finally:
            with contextlib.suppress(NotRunningError), self._changing():
                self._processes.pop(key, None)
                self._save(ready=True)

    def _start(self, key: str, where: str, argv: Sequence[str]) -> Process:
        # Ctrl-C between start and record would leave an unknown process that is not yet in its namespace.
        with remains.interrupts_delayed():
            self._processes[key] = netns.spawn(where, argv, self.logs / f"{key}.log", self.environment)
        return self._processes[key]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of programs in the lab: the path of `netbond`, and the box's configuration."""
        return {
            "NETBOND_CONFIG": str(self.config),
            "PATH": f"{self.state_dir}/bin:" + os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
        }

    def process(self, key: str) -> Process | None:
        """Return a process by its key: "cable", "agent", "receiver", "dnsmasq-usb0", "dhcp-usb0"."""
        return self._processes.get(key)

    def _wait_for(self, ready: Any, key: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not ready():
            if not self._processes[key].alive or time.monotonic() > deadline:
                raise UnavailableError(f"the lab's {key} did not start: {self.last_words(key)}")
            time.sleep(POLL_S)

    def _wait_for_port(self, where: str, port: int, key: str) -> None:
        self._wait_for(lambda: port in netns.udp_ports(where), key)

    def last_words(self, key: str) -> str:
        """Return the last line of a program's log."""
        with contextlib.suppress(OSError):
            if lines := (self.logs / f"{key}.log").read_text(errors="replace").strip().splitlines():
                return lines[-1]
        return "its log is empty"

    # --- the box

    def box_exec(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Call `subprocess.run` in the box, with its files and environment."""
        return self.exec_in(self.topology.box, argv, **options)

    def exec_in(self, where: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Call `subprocess.run` in one of the lab's namespaces."""
        env = {**os.environ, **self.environment, **options.pop("env", {})}
        return netns.run_in(where, argv, env=env, **options)

    def exec_command(self, where: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` in one of the lab's namespaces."""
        return ["ip", "netns", "exec", where, *argv]

    def namespace(self, where: str) -> str:
        """Return a namespace by the user's name for it: "box", "net", or an uplink for its modem."""
        fixed = {"box": self.topology.box, "net": self.topology.net}
        return fixed.get(where) or self.modem(where).netns

    def addresses(self) -> dict[str, list[str]]:
        """Return the box's IPv4 addresses, with prefix length, by interface."""
        result = subprocess.run(
            ["ip", "-n", self.topology.box, "-4", "-json", "address"],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise UnavailableError(
                f"the box of lab {self.name!r}: {result.stderr.strip()}", "remove the lab and make it again"
            )
        return {
            item["ifname"]: [f"{a['local']}/{a['prefixlen']}" for a in item["addr_info"]]
            for item in json.loads(result.stdout)
            if item.get("ifname") and item["ifname"] != "lo"
        }

    def wait_for_leases(self, devices: Iterable[str] = (), timeout_s: float = LEASE_TIMEOUT_S) -> None:
        """Wait until these interfaces have leases (default: all that are plugged in), or UnavailableError."""
        wanted = set(devices) or {m.device for m in self.topology.modems} - self._unplugged
        deadline = time.monotonic() + timeout_s
        while missing := {device for device in wanted if not self._has_lease(device)}:
            if time.monotonic() > deadline:
                device = min(missing)
                raise UnavailableError(
                    f"no DHCP lease on {', '.join(sorted(missing))} after {timeout_s:g} s;"
                    f" DHCP client: {self.last_words(f'dhcp-{device}')};"
                    f" dnsmasq: {self.last_words(f'dnsmasq-{device}')}"
                )
            time.sleep(POLL_S)

    # --- changes of modems and links

    def unplug(self, device: str) -> None:
        """Unplug a modem: its interface disappears from the box; the modem loses power and its NAT state."""
        modem = self.modem(device)
        with self._changing():
            if device in self._unplugged:
                raise NetbondError(f"{device} is already unplugged", f"netbond lab plug {device}")
            self._unplugged.add(device)
            self._save(ready=True)
            netns.ip_batch(["link del lan0", "link set radio0 down"], modem.netns)
            if (client := self._processes.pop(f"dhcp-{device}", None)) is not None:
                netns.stop([client], grace_s=0.5)
            self._save(ready=True)

    def plug(self, device: str) -> None:
        """Plug a modem in: its interface appears with the same MAC address, and gets a DHCP client."""
        modem = self.modem(device)
        with self._changing():
            if device not in self._unplugged:
                raise NetbondError(f"{device} is already plugged in", f"netbond lab unplug {device}")
            netns.ip_batch([topology.plug_command(modem)], self.topology.box)
            netns.ip_batch([*topology.radio_on_commands(modem), *topology.lan_commands(modem)], modem.netns)
            self._unplugged.discard(device)
            netns.ip_batch([f"link set {device} up"], self.topology.box)
            if self._dhcp:
                self._start_dhcp_client(modem)
            self._save(ready=True)

    def impair(self, device: str, *words: str) -> None:
        """Change a radio link ('rate=4', 'up.loss=1', 'off', 'clear', ...) or the carrier ('carrier=off')."""
        modem = self.modem(device)
        change = impair.parse(words)
        if change.carrier is not None:
            if device in self._unplugged:
                raise NetbondError(f"{device} is unplugged and has no carrier", f"netbond lab plug {device}")
            netns.ip_batch([f"link set lan0 {'up' if change.carrier else 'down'}"], modem.netns)
        if change.touches_radio:
            cable.request(
                self._cable_socket,
                {"impair": device, "words": [word for word in words if not word.startswith("carrier=")]},
            )

    def radio(self) -> dict[str, Any]:
        """Return the impairment and counters of each radio link, by uplink and direction ("up", "down")."""
        return cable.request(self._cable_socket, {"stats": True})

    # --- state on disk

    def status(self) -> dict[str, Any]:
        """Return the lab's state for `netbond lab status --json`."""
        radio = self.radio()
        addresses = self.addresses()
        uplinks = []
        for modem in self.topology.modems:
            carrier = self._carrier(modem) if self.is_plugged(modem.device) else False
            uplinks.append(
                {
                    "device": modem.device,
                    "plugged": self.is_plugged(modem.device),
                    "carrier": carrier,
                    "addresses": addresses.get(modem.device, []),
                    "gateway": modem.address,
                    "public": modem.public,
                    "twin": modem.twin,
                    "netns": modem.netns,
                    "radio": radio[modem.device],
                }
            )
        return {
            "name": self.name,
            "box": self.topology.box,
            "internet": self.topology.net,
            "receiver": f"{topology.RECEIVER_NAME}:{topology.RECEIVER_PORT}",
            "config": str(self.config),
            "logs": str(self.logs),
            "uplinks": uplinks,
            "processes": {
                key: {"pid": process.pid, "alive": process.alive} for key, process in self._processes.items()
            },
        }

    def _carrier(self, modem: Modem) -> bool:
        result = subprocess.run(
            ["ip", "-n", modem.netns, "-json", "link", "show", "lan0"],
            check=False,
            capture_output=True,
            text=True,
        )
        return result.returncode == 0 and "LOWER_UP" in json.loads(result.stdout)[0]["flags"]

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Lock the lab, so that one command changes it at a time, and read its state again."""
        with remains.locked(self.name):
            try:
                self._restore(json.loads((self.state_dir / "state.json").read_text()))
            except FileNotFoundError:
                raise NotRunningError(f"lab {self.name!r} is not up") from None
            yield

    def _save(self, ready: bool) -> None:
        state = {
            "ready": ready,
            "topology": asdict(self.topology),
            "lease_seconds": self._lease_seconds,
            "receiver": self._receiver,
            "agent": self._agent,
            "dhcp": self._dhcp,
            "unplugged": sorted(self._unplugged),
            "processes": {key: [p.pid, p.started] for key, p in self._processes.items()},
        }
        new = self.state_dir / "state.json.new"
        new.write_text(json.dumps(state, indent=1))
        new.rename(self.state_dir / "state.json")

    def _restore(self, state: dict[str, Any]) -> None:
        plan = state["topology"]
        self.topology = Topology(
            plan["name"], tuple(Modem(**{**m, "words": tuple(m["words"])}) for m in plan["modems"])
        )
        self._lease_seconds = state["lease_seconds"]
        self._receiver = state["receiver"]
        self._agent = state["agent"]
        self._dhcp = state["dhcp"]
        self._unplugged = set(state["unplugged"])
        self._processes = {key: Process(*value) for key, value in state["processes"].items()}


# --- without a Lab -----------------------------------------------------------------------------------------


def _option(name: str) -> str:
    return "" if name == DEFAULT_NAME else f" --name {name}"
