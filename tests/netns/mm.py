"""Runs a real ModemManager with a simulated modem, by its test interface and a server for AT commands.

ModemManager does not search for hardware (no udev, no scan), so it knows only the modem of `plug`. That modem
has only an AT port, and no network interface.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests import ready
from tests.buses import PrivateBus, end

POLKITD = "/usr/lib/polkit-1/polkitd"

# The answers of a simple LTE modem; 3GPP TS 27.007 and 27.005 define them.
ANSWERS = {
    "+GCAP": "+GCAP: +CGSM",
    "+CGMI": "Netbond",
    "+CGMM": "NB-1",
    "+CGMR": "1.0",
    "+CGSN": "490154203237518",
    "I": "Netbond NB-1",
    "+CPIN?": "+CPIN: READY",
    "+CIMI": "001010123456789",
    "+CFUN?": "+CFUN: 1",
    "+WS46=?": "+WS46: (12,22,25,28,29)",
    "+CGDCONT=?": '+CGDCONT: (1-11),"IP",,,(0-2),(0-3)',
    "+CSQ": "+CSQ: 22,99",  # 22 of 31: 70 %
    "+CREG?": '+CREG: 2,1,"00C3","0000A1B2",7',  # at home, LTE
    "+CGREG?": '+CGREG: 2,1,"00C3","0000A1B2",7',
    "+CEREG?": '+CEREG: 2,1,"00C3","0000A1B2",7',
    "+CESQ=?": "+CESQ: (0-63,99),(0-7,99),(0-96,255),(0-49,255),(0-34,255),(0-97,255)",
    "+CESQ": "+CESQ: 99,99,255,255,20,60",  # RSRQ -9.5 dB, RSRP -80 dBm and a half
}
# Commands that are accepted without an answer of their own.
SILENT = {
    "E0", "V1", "X4", "&C1", "Z", "+CMEE=1", "+CFUN=1", "+CREG=2", "+CGREG=2", "+CEREG=2", "+CREG=0",
    "+CGREG=0", "+CEREG=0", "+CREG=1", "+CGREG=1", "+CEREG=1", "+COPS=0",
}  # fmt: skip


class SimulatedModem:
    """Answers AT commands on the abstract socket that ModemManager opens for it."""

    def __init__(self, name: str) -> None:
        self.port = f"abstract:{name}"  # the whole text is the socket's name
        self.answers = dict(ANSWERS)
        self.operators = {"+COPS=3,0": '+COPS: 0,0,"T-Mobile",7', "+COPS=3,2": '+COPS: 0,2,"26201",7'}
        self.asked: list[str] = []
        self.hangs_at = ""  # from this command on, it answers nothing
        self._server: asyncio.Server | None = None
        self._lines: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def __aenter__(self) -> SimulatedModem:
        self._server = await asyncio.start_unix_server(self._serve, path=f"\0{self.port}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.vanish()

    async def vanish(self) -> None:
        """Unplug the modem: its port disappears, even during a command."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._lines.values():
            writer.close()
        if lines := {task for task in self._lines if task is not None}:
            await asyncio.wait(lines)

    def say(self, text: str) -> None:
        """Send an unsolicited report, such as a change of registration."""
        for writer in self._lines.values():
            writer.write(f"\r\n{text}\r\n".encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines[asyncio.current_task()] = writer
        try:
            while line := await reader.readuntil(b"\r"):
                command = line.decode().strip().upper().removeprefix("AT")
                self.asked.append(command)
                if self.hangs_at not in self.asked:
                    writer.write(self._answer(command).encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # ModemManager closed the port, as it often does
        finally:
            del self._lines[asyncio.current_task()]
            writer.close()

    def _answer(self, command: str) -> str:
        if command in self.operators:  # selects the form in which +COPS? reports the operator
            self.answers["+COPS?"] = self.operators[command]
        elif command in self.answers:
            return f"\r\n{self.answers[command]}\r\n\r\nOK\r\n"
        elif command and command not in SILENT:
            return "\r\nERROR\r\n"
        return "\r\nOK\r\n"


class ModemManagerBox:
    """ModemManager on a private bus, with the polkitd that it asks whether root may do things."""

    def __init__(self, folder: Path, bus: PrivateBus) -> None:
        self.bus = bus
        self.log = folder / "mm.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._polkitd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ModemManagerBox:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        end(self._polkitd)

    def start(self) -> None:
        """Start ModemManager and polkitd; both are on the bus when this returns."""
        with self.log.open("ab") as log:
            if self._polkitd is None:
                self._polkitd = subprocess.Popen(
                    [POLKITD, "--no-debug"], env=self.bus.environment, stdout=log, stderr=log
                )
                ready.bus_name("org.freedesktop.PolicyKit1", self._polkitd, self.bus.environment, self.log)
            self._process = subprocess.Popen(
                [
                    "ModemManager", "--test-enable", "--test-no-udev", "--no-auto-scan",
                    "--test-no-suspend-resume", "--debug",
                ],
                env={**self.bus.environment, "PATH": os.environ["PATH"] + ":/usr/sbin"},
                stdout=log,
                stderr=log,
            )  # fmt: skip
        ready.bus_name("org.freedesktop.ModemManager1", self._process, self.bus.environment, self.log)

    def stop(self, *, kill: bool = False) -> None:
        """Stop ModemManager."""
        end(self._process, kill=kill)
        self._process = None

    @property
    def alive(self) -> bool:
        """Whether ModemManager is still running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The PID of the running ModemManager."""
        assert self._process is not None
        return self._process.pid

    async def plug(self, modem: SimulatedModem, plugin: str = "generic") -> None:
        """Let ModemManager find the modem, and wait until it has."""
        await self._run(
            "dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.ModemManager1",
            "/org/freedesktop/ModemManager1", "org.freedesktop.ModemManager1.Test.SetProfile",
            "string:fake0", f"string:{plugin}", f"array:string:{modem.port}",
        )  # fmt: skip
        deadline = asyncio.get_running_loop().time() + ready.WITHIN_S
        while "/Modem/" not in await self.mmcli("-L"):
            assert asyncio.get_running_loop().time() < deadline, self.log.read_text()[-3000:]
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def removed(self) -> AsyncIterator[None]:
        """Remove the modem's device from ModemManager during the block, as when the kernel reports it.

        The kernel does not know the simulated device, so it sends no event; inhibiting it has the same
        effect.
        """
        process = await asyncio.create_subprocess_exec(
            "mmcli",
            "--inhibit-device=/virtual/fake0",
            env=self.bus.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(ready.WITHIN_S):
                assert b"successfully inhibited" in await process.stdout.readline()
            yield
        finally:
            process.terminate()  # it then asks ModemManager to end the inhibition, and waits for the answer
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def mmcli(self, *arguments: str) -> str:
        """Run mmcli against this ModemManager."""
        return await self._run("mmcli", *arguments)

    async def _run(self, *command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.bus.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(ready.WITHIN_S):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:  # a ModemManager that does not answer, or a test that ends
                process.kill()
                await process.wait()
        said = output.decode()
        assert process.returncode == 0, f"{' '.join(command)}: {said}{self.log.read_text()[-3000:]}"
        return said
