"""The scripts of dhcpcd and udhcpc, and dhclient's enter hook, under every shell that may read them."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from netbond.dhcp.clients import (
    DHCLIENT_CHANGED,
    DHCLIENT_LEASED,
    DHCLIENT_RELEASED,
    DHCPCD_CHANGED,
    DHCPCD_LEASED,
    DHCPCD_RELEASED,
    UDHCPC_LEASED,
    UDHCPC_RELEASED,
)

CONTRIB = Path(__file__).parents[3] / "contrib"
EXIT_HOOK = CONTRIB / "dhclient-hooks/netbond"
ENTER_HOOK = CONTRIB / "dhclient-hooks/netbond-enter"
DHCPCD_HOOK = CONTRIB / "dhcpcd-hooks/90-netbond"
UDHCPC_PART = CONTRIB / "udhcpc/netbond"
UDHCPC_SCRIPT = CONTRIB / "udhcpc/netbond.script"

pytestmark = pytest.mark.skipif(
    Path("/etc/default/netbond").exists(), reason="/etc/default/netbond of this machine would be read"
)


@pytest.fixture(params=[["dash"], ["busybox", "sh"], ["bash", "--posix"]], ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    return words


class StandIn:
    """A program in netbond's place: it notes its arguments and some of its environment, then fails."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "netbond"
        self.called = folder / "called"
        self.program.write_text(
            "#!/bin/sh\n"
            'echo "$* routers=${new_routers-unset} classless=${new_rfc3442_classless_static_routes-unset}'
            f' router=${{router-unset}}" >>{shlex.quote(str(self.called))}\necho noise\nexit 1\n'
        )
        self.program.chmod(0o755)

    def calls(self) -> list[str]:
        return self.called.read_text().splitlines() if self.called.exists() else []


@pytest.fixture
def netbond(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


def run(shell: list[str], script: str, environ: dict[str, str], *words: str) -> str:
    """The output of a shell script; its status must be 0 and its standard error empty."""
    done = subprocess.run(
        [*shell, "-c", script, "sh", *words],
        env={"PATH": os.environ["PATH"]} | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def source(shell: list[str], hook: Path, environ: dict[str, str], *words: str) -> str:
    """Read a hook as its client does, in a shell that stops at errors; what has become of it."""
    return run(
        shell,
        f'set -eu; hook=x\n. "{hook}"\necho "$? $* $hook ${{NETBOND_CONFIG-unset}}"',
        environ,
        *words,
    )


@pytest.mark.parametrize(
    ("hook", "client", "codes"),
    [
        (EXIT_HOOK, "dhclient", DHCLIENT_LEASED | DHCLIENT_RELEASED | DHCLIENT_CHANGED),
        (DHCPCD_HOOK, "dhcpcd", DHCPCD_LEASED | DHCPCD_RELEASED | DHCPCD_CHANGED),
    ],
    ids=["dhclient", "dhcpcd"],
)
def test_every_reason_code_that_netbond_takes_gets_there(
    shell: list[str], netbond: StandIn, hook: Path, client: str, codes: frozenset[str]
) -> None:
    silent = {"PREINIT", "PREINIT6", "CARRIER", "NOCARRIER", "TEST", "NBI", "", "`id`"}
    for code in (*sorted(codes), *sorted(silent)):
        environ = {"reason": code, "interface": "usb0", "NETBOND": str(netbond.program)}
        assert source(shell, hook, environ, "one") == "0 one x unset\n"
    assert [call.split()[:2] for call in netbond.calls()] == [["hook", client]] * len(codes)


def test_every_event_of_udhcpc_gets_there(shell: list[str], netbond: StandIn) -> None:
    events = sorted(UDHCPC_LEASED | UDHCPC_RELEASED)
    for event in (*events, "arp", "", "$(id)"):
        environ = {"interface": "usb0", "NETBOND": str(netbond.program)}
        assert source(shell, UDHCPC_PART, environ, event, "two") == f"0 {event} two x unset\n"
    assert [call.split()[:3] for call in netbond.calls()] == [["hook", "udhcpc", event] for event in events]


@pytest.mark.parametrize("hook", [DHCPCD_HOOK, UDHCPC_PART, ENTER_HOOK], ids=lambda path: path.name)
def test_netbond_not_installed(shell: list[str], hook: Path, tmp_path: Path) -> None:
    environ = {"reason": "BOUND", "interface": "usb0", "NETBOND": str(tmp_path / "none")}
    assert source(shell, hook, environ, "bound") == "0 bound x unset\n"


# --- the wrapper around udhcpc's script --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "router", "routes"),
    [
        ("", "10.0.0.1 10.0.0.2", "10.0.0.0/8 10.0.0.7 0.0.0.0/0 10.0.0.1"),
        ("eth*", "10.0.0.1 10.0.0.2", "10.0.0.0/8 10.0.0.7 0.0.0.0/0 10.0.0.1"),
        ("eth* usb[0-3]", "unset", "10.0.0.0/8 10.0.0.7"),
    ],
)
def test_udhcpcs_own_script_comes_first(
    shell: list[str], netbond: StandIn, tmp_path: Path, keep: str, router: str, routes: str
) -> None:
    own = tmp_path / "default.script"
    own.write_text('#!/bin/sh\necho "own $* router=${router-unset} routes=$staticroutes"\nexit 7\n')
    own.chmod(0o755)
    environ = {
        "PATH": os.environ["PATH"],
        "interface": "usb0",
        "router": "10.0.0.1 10.0.0.2",
        "staticroutes": "10.0.0.0/8 10.0.0.7 0.0.0.0/0 10.0.0.1",
        "NETBOND": str(netbond.program),
        "NETBOND_UDHCPC_SCRIPT": str(own),
        "NETBOND_KEEP_FROM_MAIN": keep,
    }
    done = subprocess.run(
        [*shell, UDHCPC_SCRIPT, "bound"],
        env=environ,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"own bound router={router} routes={routes}\n"
    assert netbond.calls() == ["hook udhcpc bound routers=unset classless=unset router=10.0.0.1 10.0.0.2"]


def test_udhcpc_without_a_script_of_its_own(shell: list[str], netbond: StandIn, tmp_path: Path) -> None:
    environ = {"NETBOND": str(netbond.program), "NETBOND_UDHCPC_SCRIPT": str(tmp_path / "none")}
    done = subprocess.run(
        [*shell, UDHCPC_SCRIPT, "bound"], env=environ | {"PATH": os.environ["PATH"]}, capture_output=True
    )
    assert done.returncode in (126, 127)
    assert len(netbond.calls()) == 1


# --- dhclient's enter hook ---------------------------------------------------------------------------------


@pytest.fixture
def enter(tmp_path: Path, netbond: StandIn) -> Path:
    """The enter and exit hooks with a settings file of their own."""
    defaults = tmp_path / "defaults"
    defaults.write_text(f'NETBOND={netbond.program}\nNETBOND_KEEP_FROM_MAIN="eth9 usb*"\n')
    for hook in (ENTER_HOOK, EXIT_HOOK):
        text = hook.read_text()
        assert "/etc/default/netbond" in text
        (tmp_path / hook.name).with_suffix(".sh").write_text(
            text.replace("/etc/default/netbond", str(defaults))
        )
    return tmp_path


def dhclient(shell: list[str], folder: Path, environ: dict[str, str]) -> str:
    """Enter hook, script, exit hook, as dhclient-script has them in one shell; what the script would see."""
    return run(
        shell,
        f'set -u; cd "{folder}"; touch usb7\n. "{folder}/netbond-enter.sh"\n'
        'echo "$? routers=${new_routers-unset} classless=${new_rfc3442_classless_static_routes-unset}"\n'
        f'. "{folder}/netbond.sh"\n'
        'echo "$? routers=${new_routers-unset} classless=${new_rfc3442_classless_static_routes-unset}"\n',
        environ,
    )


@pytest.mark.parametrize("reason", ["BOUND", "RENEW", "REBIND", "REBOOT"])
def test_the_script_sees_no_router_and_the_exit_hook_does(
    shell: list[str], enter: Path, netbond: StandIn, reason: str
) -> None:
    environ = {"reason": reason, "interface": "usb0", "new_routers": "10.0.0.1 10.0.0.2"}
    seen = "0 routers=unset classless=unset\n"
    assert dhclient(shell, enter, environ) == seen + seen
    assert netbond.calls() == ["hook dhclient routers=10.0.0.1 10.0.0.2 classless= router=unset"]


@pytest.mark.parametrize(
    ("classless", "kept"),
    [
        ("0 10 0 0 1", ""),
        ("24 192 168 9 10 0 0 7 0 10 0 0 1", "24 192 168 9 10 0 0 7"),
        ("0 10 0 0 1 32 1 2 3 4 10 0 0 7 16 172 16 10 0 0 7 0 10 0 0 1 8 11 10 0 0 7",
         "32 1 2 3 4 10 0 0 7 16 172 16 10 0 0 7 8 11 10 0 0 7"),
        ("0 10 0 0", "0 10 0 0"),  # cut short: left to the script as it came
        ("33 1 2 3 4 5 6 7 8 9", "33 1 2 3 4 5 6 7 8 9"),
        ("* $(touch pwned) ; 0", "* $(touch pwned) ; 0"),
    ],
)  # fmt: skip
def test_classless_defaults_are_kept_out_too(
    shell: list[str], enter: Path, netbond: StandIn, classless: str, kept: str
) -> None:
    environ = {"reason": "BOUND", "interface": "usb0", "new_rfc3442_classless_static_routes": classless}
    seen = f"0 routers=unset classless={kept}\n"
    assert dhclient(shell, enter, environ) == seen + seen
    assert netbond.calls() == [f"hook dhclient routers= classless={classless} router=unset"]
    assert not (enter / "pwned").exists()


def test_an_old_lease_is_still_tried_by_its_router(shell: list[str], enter: Path, netbond: StandIn) -> None:
    """On TIMEOUT the script pings the router; with classless routes, even none, it sets no default."""
    environ = {"reason": "TIMEOUT", "interface": "usb0", "new_routers": "10.0.0.1"}
    assert dhclient(shell, enter, environ) == "0 routers=10.0.0.1 classless= \n" * 2
    assert netbond.calls() == ["hook dhclient routers=10.0.0.1 classless= router=unset"]


@pytest.mark.parametrize(
    "change",
    [
        {"interface": "eth0"},
        {"interface": "usb 0; reboot", "reason": "PREINIT"},
        {"reason": "EXPIRE"},
        {"reason": "BOUND6"},
    ],
)
def test_other_interfaces_and_reasons_are_left_alone(
    shell: list[str], enter: Path, change: dict[str, str]
) -> None:
    environ = {"reason": "BOUND", "interface": "usb0", "new_routers": "10.0.0.1"} | change
    assert dhclient(shell, enter, environ) == "0 routers=10.0.0.1 classless=unset\n" * 2


def test_without_netbond_the_default_is_not_kept_out(shell: list[str], enter: Path, netbond: StandIn) -> None:
    netbond.program.unlink()
    environ = {"reason": "BOUND", "interface": "usb0", "new_routers": "10.0.0.1"}
    assert dhclient(shell, enter, environ) == "0 routers=10.0.0.1 classless=unset\n" * 2
