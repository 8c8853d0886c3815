"""The archive for a bug report: what is in it, and that no secret is."""

from __future__ import annotations

import stat
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netbond.cli import doctor_bundle
from netbond.config.load import load
from netbond.doctor.model import Seen
from netbond.errors import UsageError
from tests.unit.doctor.boxes import agent, healthy

# What is planted, each in the place where it comes from.
SECRETS = {
    "key": "correct-horse-battery",
    "stream id": "#!::r=live,u=alice",
    "receiver": "bond.secret.example",
    "token": "123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    "comment": "the SIM's PIN is 4711",
    "gateway": "192.168.87.1",
    "public address": "93.184.216.34",
    "IPv6": "2a00:1450:4001:81b::200e",
    "MAC": "0c:5b:8f:27:9a:64",
    "interface": "0c5b8f279a64",
    "ICCID": "8949020000012345678",
    "IMEI": "356938035643809",
    "phone number": "+491701234567",
}

JOURNAL = "\n".join(
    (
        f"registered at {SECRETS['receiver']}:5000 ({SECRETS['public address']})",
        f"enx{SECRETS['interface']} ({SECRETS['MAC']}): no answer from {SECRETS['gateway']}",
        f"SIM {SECRETS['ICCID']}, modem {SECRETS['IMEI']}; stream {SECRETS['stream id']}",
        f"{SECRETS['IPv6']}: key {SECRETS['key']}",
    )
)


def planted(folder: Path) -> Seen:
    """A box with all of them."""
    key = folder / "key"
    key.write_text(f"{SECRETS['key']}\n")
    config = folder / "netbond.toml"
    config.write_text(
        f"""
        # {SECRETS["comment"]}
        [agent]
        state_dir = "{folder}"
        [[sender]]
        listen = "127.0.0.1:6000"
        receiver = "{SECRETS["receiver"]}:5000"
        key_file = "{key}"
        [[hook]]
        name = "tell-me"
        command = ["/usr/bin/curl", "https://api.telegram.org/bot{SECRETS["token"]}/sendMessage"]
        """
    )

    def plant(box: dict[str, Any]) -> None:
        box["uplinks"][0].update(gateway=SECRETS["gateway"], reason=JOURNAL.replace("\n", " "))
        box["engines"][0]["stats"]["stream_id"] = SECRETS["stream id"]
        box["hardware"] = {"usb0": {"serial": SECRETS["IMEI"], "mac": SECRETS["MAC"]}}
        box["modems"] = {"usb0": {"own_numbers": [SECRETS["phone number"]]}}

    return replace(healthy(), config=load(config), snapshot=agent(plant))


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of the archive, by name."""
    monkeypatch.setattr(
        doctor_bundle, "COMMANDS", {"journal.txt": ("printf", "%s", JOURNAL), "no.txt": ("/no",)}
    )
    path = tmp_path / "bundle.tar.gz"
    findings = {"findings": [{"evidence": JOURNAL}]}
    doctor_bundle.write(path, planted(tmp_path), findings, tmp_path / "netbond.toml")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = {}
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("netbond-doctor/")] = file.read().decode()
    return found


def test_what_is_in_it(texts: dict[str, str]) -> None:
    assert set(texts) == {
        "README.txt", "doctor.json", "config.json", "status.json", "plan.txt", "events.txt", "journal.txt",
        "no.txt",
    }  # fmt: skip
    assert "STREAMING" in texts["status.json"]
    assert "No such file" in texts["no.txt"]
    assert '"/usr/bin/curl",\n        "<argument>"' in texts["config.json"]
    assert "key_file" in texts["config.json"]


@pytest.mark.parametrize("what", SECRETS)
def test_no_secret_is_in_it(texts: dict[str, str], what: str) -> None:
    assert [name for name, text in texts.items() if SECRETS[what].lower() in text.lower()] == []


def test_one_value_has_one_mask_in_all_files(texts: dict[str, str]) -> None:
    first = texts["journal.txt"].splitlines()[0]
    assert first == "registered at <host-1>:5000 (<ip4-public-1>)"
    assert first in texts["status.json"]
    assert first in texts["doctor.json"]


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        doctor_bundle.write(path, healthy(), {}, None)
    assert path.read_text() == "mine"


def test_of_a_broken_file_nothing_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "netbond.toml"
    broken.write_text("pin = 4711 4711")
    assert doctor_bundle._config(broken) == {"error": "it is no TOML"}
    assert "No such file" in str(doctor_bundle._config(tmp_path / "none"))
