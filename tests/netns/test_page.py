"""The web page of a real agent: its process, what it shows of modems that come and go, and what it sets."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import ssl
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.netns.box import Box, wait_for
from tests.netns.spaces import inside

pytestmark = pytest.mark.root

PORT = 10470
TOKEN = "correct-horse-battery"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
        yield box


def page_of(box: Box) -> int | None:
    """The process of the page."""
    assert box.agent is not None
    for child in Path(f"/proc/{box.agent.pid}/task/{box.agent.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"\0page\0" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


class Browser:
    """Asks the page, from within the box."""

    def __init__(self, box: Box, tls: ssl.SSLContext | None = None) -> None:
        self._box, self._tls = box, tls
        self.headers: dict[str, str] = {}

    def open(self, method: str, path: str, body: object = None) -> HTTPResponse:
        with inside(self._box.name):
            connected: socket.socket = socket.create_connection(("127.0.0.1", PORT), 20)
        asking = HTTPConnection("127.0.0.1", PORT)
        asking.sock = connected
        scheme = "http" if self._tls is None else "https"
        more = {"Origin": f"{scheme}://127.0.0.1:{PORT}", "Content-Type": "application/json"}
        try:
            if self._tls is not None:
                asking.sock = self._tls.wrap_socket(connected, server_hostname="127.0.0.1")
            asking.request(method, path, json.dumps(body), {**more, **self.headers})
            return asking.getresponse()
        except BaseException:  # the page is being started again
            asking.close()
            raise

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        with self.open(method, path, body) as reply:
            return reply.status, reply.read().decode()

    def status(self, path: str) -> int | None:
        """The status of a page; None if nobody answers, as while the process is started again."""
        try:
            return self.ask("GET", path)[0]
        except (OSError, HTTPException):
            return None

    def there(self) -> bool:
        return self.status("/") == 200


def merge(state: dict[str, Any], changes: dict[str, Any]) -> None:
    """RFC 7396."""
    for key, value in changes.items():
        if value is None:
            state.pop(key, None)
        elif isinstance(value, dict):
            merge(state.setdefault(key, {}), value)
        else:
            state[key] = value


class Viewer:
    """Takes the stream."""

    def __init__(self, browser: Browser) -> None:
        self.state: dict[str, Any] = {}
        self._stream = browser.open("GET", "/live")
        assert self._stream.status == 200

    def close(self) -> None:
        self._stream.close()

    def until(self, true: Any, what: str) -> None:
        """Take changes until it is true of the state; one comes each second at least."""
        for _ in range(400):
            if true(self.state):
                return
            line = self._stream.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                merge(self.state, json.loads(line[6:])["p"])
        raise AssertionError(f"{what}: {self.state}")


def test_a_box_on_its_own_address(box: Box) -> None:
    """Without root, for everybody on the box; modems come and go, and nothing can be set."""
    box.configure("[page]\nenabled = true")
    box.start()
    browser = Browser(box)
    wait_for(browser.there, 10, "the page is there")
    page = page_of(box)
    assert page is not None
    status = Path(f"/proc/{page}/status").read_text()
    nobody = pwd.getpwnam("nobody").pw_uid
    assert f"\nUid:\t{nobody}\t{nobody}\t{nobody}\t{nobody}\n" in status
    assert "\nCapPrm:\t0000000000000000\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    assert "\nSeccomp:\t2\n" in status
    viewer = Viewer(browser)
    viewer.until(lambda state: set(state.get("uplinks", ())) == {"usb0", "usb1"}, "both uplinks")
    viewer.until(lambda state: state["verdict"] == "UP: 2 uplinks", "the verdict")
    box.unplug("usb1")
    viewer.until(lambda state: set(state["uplinks"]) == {"usb0"}, "usb1 is unplugged")
    viewer.until(
        lambda state: any("usb1 unplugged" in each[2] for each in state["events"].values()), "an event"
    )
    assert browser.ask("POST", "/set", {"uplink": "usb0", "what": "mode", "value": "off"})[0] == 403
    viewer.close()
    assert box.stop() == 0
    wait_for(lambda: not Path(f"/proc/{page}").exists(), 5, "the page has ended, too")


def test_a_box_that_is_set_from_elsewhere(box: Box) -> None:
    """An unlike input: all addresses, TLS, a token, control; the page is killed, and its token replaced."""
    token, pem = box.folder / "token", box.folder / "page.pem"
    token.write_text(TOKEN)
    token.chmod(0o600)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=box", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem)]
    subprocess.run([*command, "-out", f"{pem}.crt"], check=True, capture_output=True)
    box.configure(
        f'[page]\nenabled = true\nlisten = "0.0.0.0:{PORT}"\ntoken_file = "{token}"\n'
        f'certificate = "{pem}.crt"\ncertificate_key = "{pem}"\ncontrol = true'
    )
    box.start()
    browser = Browser(box, ssl.create_default_context(cafile=f"{pem}.crt"))
    wait_for(browser.there, 10, "the page is there")
    assert browser.ask("POST", "/set", {"uplink": "usb1", "what": "mode", "value": "off"})[0] == 401
    with browser.open("POST", "/login", {"token": TOKEN}) as reply:
        assert reply.status == 204
        browser.headers["Cookie"] = reply.headers["Set-Cookie"].split(";")[0]
    assert box.table(222).count("nexthop") == 2
    said = browser.ask("POST", "/set", {"uplink": "usb1", "what": "mode", "value": "off", "for_s": 3600})
    assert said[0] == 200, said
    assert json.loads(said[1])["text"] == "usb1 set off by the web page for 1 h"
    wait_for(lambda: "usb1" not in box.table(222), 5, "usb1 is off")
    last = browser.ask("POST", "/set", {"uplink": "usb0", "what": "mode", "value": "off"})
    assert last[0] == 409
    assert last[1].startswith("usb0 is the last uplink that works")
    assert browser.ask("POST", "/unset", {"uplink": "usb1"})[0] == 200
    wait_for(lambda: "usb1" in box.table(222), 5, "usb1 is back")
    page = page_of(box)
    assert page is not None
    os.kill(page, 9)
    wait_for(lambda: page_of(box) not in (None, page) and browser.there(), 10, "it is started again")
    wait_for(lambda: browser.status("/session") == 204, 5, "the cookie holds")
    token.write_text(TOKEN + "-another")
    box.ip("link", "set", "usb1", "down")  # a pass, which would come within 10 s
    wait_for(lambda: browser.status("/session") == 401, 10, "another token")
