"""contrib/: the scripts that DHCP clients run. They must leave the client's shell as they found it."""

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from netbond.cli import hook
from netbond.system import clock

ROOT = Path(__file__).parents[3]
DHCLIENT_HOOK = ROOT / "contrib/dhclient-hooks/netbond"
DISPATCHER = ROOT / "contrib/nm-dispatcher/netbond"
DHCPCD_HOOK = ROOT / "contrib/dhcpcd-hooks/90-netbond"
UDHCPC_HOOK = ROOT / "contrib/udhcpc/netbond"
SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"]]

pytestmark = pytest.mark.skipif(
    Path("/etc/default/netbond").exists(), reason="/etc/default/netbond of this machine would be read"
)


def shells() -> list[object]:
    return [
        pytest.param(
            shell,
            id=shell[0],
            marks=pytest.mark.skipif(not shutil.which(shell[0]), reason=f"{shell[0]} is not installed"),
        )
        for shell in SHELLS
    ]


@pytest.fixture
def netbond(tmp_path: Path) -> Path:
    """A program in netbond's place: it notes its arguments, configuration and input, then fails."""
    program = tmp_path / "netbond"
    program.write_text(
        '#!/bin/sh\n{ echo "$@"; echo "config=$NETBOND_CONFIG"; echo "ip=$new_ip_address";'
        f' read -r line; echo "input=$line"; }} >"{tmp_path}/called"\necho noise\nexit 1\n'
    )
    program.chmod(0o755)
    return program


def source(shell: list[str], environ: dict[str, str], options: str = "") -> subprocess.CompletedProcess[str]:
    """Read the dhclient hook as dhclient-script does, and show what has become of the shell."""
    script = (
        f'{options}\nset -- one two\nmine=kept\n. "{DHCLIENT_HOOK}"\n'
        'echo "status=$? words=$* mine=$mine options=$-"\n'
    )
    return subprocess.run(
        [*shell, "-c", script],
        env={"PATH": os.environ["PATH"]} | environ,
        input="not for the hook\n",
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("shell", shells())
@pytest.mark.parametrize("options", ["", "set -eu"])
def test_the_client_goes_on_as_before(shell: list[str], options: str, netbond: Path) -> None:
    environ = {"reason": "BOUND", "interface": "usb0", "new_ip_address": "10.0.0.10", "NETBOND": str(netbond)}
    done = source(shell, environ | {"NETBOND_CONFIG": "/x.toml"}, options)
    line = done.stdout.rstrip()
    assert line.startswith("status=0 words=one two mine=kept options=")
    flags = line.rpartition("=")[2]
    assert ("e" in flags, "u" in flags) == (bool(options), bool(options))
    called = (netbond.parent / "called").read_text()
    assert called == "hook dhclient\nconfig=/x.toml\nip=10.0.0.10\ninput=\n"


@pytest.mark.parametrize("shell", shells())
def test_no_variable_of_the_client_changes(shell: list[str], netbond: Path) -> None:
    names = "reason interface new_ip_address NETBOND NETBOND_CONFIG PATH mine exit_status script"
    show = f'for n in {names}; do eval "echo $n=\\${{$n-unset}}"; done'
    script = f'mine=kept exit_status=0 script=x\n{show}\n. "{DHCLIENT_HOOK}"\n{show}'
    environ = {"PATH": os.environ["PATH"], "reason": "RENEW", "interface": "usb0", "NETBOND": str(netbond)}
    done = subprocess.run([*shell, "-c", script], env=environ, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    half = len(lines) // 2
    assert half == len(names.split())
    assert lines[:half] == lines[half:]


@pytest.mark.parametrize("shell", shells())
@pytest.mark.parametrize("reason", ["PREINIT", "PREINIT6", "", "NBI"])
def test_what_is_no_lease_starts_nothing(shell: list[str], reason: str, netbond: Path) -> None:
    done = source(shell, {"reason": reason, "interface": "usb0", "NETBOND": str(netbond)})
    assert done.stdout.startswith("status=0 ")
    assert not (netbond.parent / "called").exists()


@pytest.mark.parametrize("shell", shells())
def test_netbond_not_installed(shell: list[str], tmp_path: Path) -> None:
    done = source(shell, {"reason": "BOUND", "NETBOND": str(tmp_path / "none")})
    assert done.stdout.startswith("status=0 ")
    assert done.stderr == ""


@pytest.mark.parametrize("shell", shells())
def test_a_slow_netbond_holds_nobody_up_and_still_takes_the_lease(shell: list[str], tmp_path: Path) -> None:
    """A small machine that boots with several modems: each lease is told once."""
    program, told, go_on = tmp_path / "netbond", tmp_path / "told", tmp_path / "go-on"
    program.write_text(
        f'#!/bin/sh\nuntil [ -e "{go_on}" ]; do sleep 0.02; done\necho "$@ $new_ip_address" >"{told}"\n'
    )
    # `timeout` of other seconds: the hook's 2 s are 0.3 s here.
    timeout = tmp_path / "timeout"
    real = shutil.which("timeout")
    timeout.write_text(
        f'#!/bin/sh\nlimit=$3\n[ "$limit" != 2 ] || limit=0.3\n'
        f'echo "$3" >>"{tmp_path}/limits"\nshift 3\nexec {real} -s KILL "$limit" "$@"\n'
    )
    for each in (program, timeout):
        each.chmod(0o755)
    environ = {"reason": "BOUND", "NETBOND": str(program), "new_ip_address": "10.0.0.10"}
    started = time.monotonic()
    done = source(shell, environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert time.monotonic() - started >= 0.25
    assert done.stdout.startswith("status=0 ")
    assert sorted((tmp_path / "limits").read_text().split()) == ["2", "300"]
    assert not told.exists()
    go_on.touch()
    deadline = time.monotonic() + 30
    while not (told.exists() and told.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert told.read_text() == "hook dhclient 10.0.0.10\n"


@pytest.mark.parametrize(
    "script", [DHCLIENT_HOOK, DISPATCHER, DHCPCD_HOOK, UDHCPC_HOOK], ids=lambda p: p.name
)
@pytest.mark.parametrize("shell", shells())
def test_netbond_is_told_when_the_client_called(shell: list[str], script: Path, tmp_path: Path) -> None:
    program = tmp_path / "netbond"
    program.write_text(f'#!/bin/sh\necho "$NETBOND_AT" >"{tmp_path}/at"\n')
    program.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "reason": "BOUND", "interface": "usb0", "NETBOND": str(program)}
    words = ["usb0", "up"] if script == DISPATCHER else ["bound"]
    before = clock.now()
    subprocess.run([*shell, "-c", f'. "{script}"', "sh", *words], env=environ, timeout=60, check=False)
    at = hook.called({"NETBOND_AT": (tmp_path / "at").read_text().strip()}, clock.now())
    assert (tmp_path / "at").read_text() == f"{at:.2f}\n"
    assert before - 0.01 <= at <= clock.now()


@pytest.mark.parametrize("shell", shells())
def test_the_dispatcher(shell: list[str], netbond: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "NETBOND": str(netbond), "NETBOND_CONFIG": "/x.toml"}
    command = [*shell, str(DISPATCHER)]
    for action in ("vpn-up", "hostname", "pre-up"):
        assert subprocess.run([*command, "usb0", action], env=environ, timeout=60).returncode == 0
    assert not (netbond.parent / "called").exists()
    done = subprocess.run(
        [*command, "usb0", "up"], env=environ, timeout=60, input="x\n", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")
    called = (netbond.parent / "called").read_text()
    assert called == "hook networkmanager usb0 up\nconfig=/x.toml\nip=\ninput=\n"


def test_networkmanager_would_run_the_dispatcher() -> None:
    assert DISPATCHER.stat().st_mode & stat.S_IXUSR


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize(
    "script",
    [
        "dhclient-hooks/netbond",
        "dhclient-hooks/netbond-enter",
        "dhcpcd-hooks/90-netbond",
        "nm-dispatcher/netbond",
        "udhcpc/netbond",
        "udhcpc/netbond.script",
    ],
)
def test_shellcheck(script: str) -> None:
    command = ["shellcheck", "-x", "-s", "sh", f"contrib/{script}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0
