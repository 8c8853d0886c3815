"""The web page in headless Chromium, against a real agent with four modems and a stream (scripts/page)."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from netbond.lab.lab import Lab
from netbond.lab.stream import Stream
from tests.netns.box import wait_for

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

URL = "http://127.0.0.1:10470/"
TOKEN = "correct-horse-battery"
JSON = {"Content-Type": "application/json"}
PHONE, DESKTOP = (390, 844), (1280, 900)
PICTURES = Path(__file__).parents[2] / "docs"
LINKS = {
    "usb0": ["rate=6", "delay=40"],
    "usb1": ["rate=3", "delay=60", "loss=1"],
    "wwan0": ["rate=4", "delay=25"],
    "wlan0": ["rate=4", "delay=35"],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A box with four modems and the page; one modem's radio is off, and a stream goes over the others."""
    folder = tmp_path_factory.mktemp("page")
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with Lab(f"nbp{os.getpid()}", devices=list(LINKS), links=LINKS, receiver=True) as lab:
        with lab.config.open("a") as config:
            config.write(f'[page]\nenabled = true\ntoken_file = "{token}"\ncontrol = true\n')
        lab.start_agent()
        stream = Stream(lab, mbps=5, duration_s=280)
        streaming = threading.Thread(target=_run, args=(stream,), daemon=True)
        streaming.start()
        wait_for(lambda: "STREAMING" in lab.agent_status()["verdict"]["text"], 15, "a stream")
        lab.impair("wlan0", "off")
        wait_for(lambda: "wlan0 dead" in lab.agent_status()["verdict"]["text"], 15, "wlan0 is dead")
        try:
            yield lab
        finally:
            stream.stop()
            streaming.join(20)


def _run(stream: Stream) -> None:
    with suppress(Exception):  # it is ended in the middle
        stream.run()


@pytest.fixture(scope="module")
def browser(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium in the box; it is spoken to over pipes, so the tests need not be there."""
    start = tmp_path_factory.mktemp("chromium") / "start"
    start.write_text(f'#!/bin/sh\nexec ip netns exec {lab.topology.box} {shutil.which("chromium")} "$@"\n')
    start.chmod(0o755)
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(start), args=["--no-sandbox"])
        yield running
        running.close()


@contextmanager
def opened(
    browser: Any, size: tuple[int, int] = PHONE, theme: str = "light", *, login: bool = True, **more: Any
) -> Iterator[Any]:
    """The page in a window of its own, with what it shows; at the end nothing has gone wrong in it."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme, **more)
    page = context.new_page()
    if login:
        page.goto(f"{URL}manifest.webmanifest")
        options = {"method": "POST", "body": json.dumps({"token": TOKEN}), "headers": JSON}
        assert (
            page.evaluate("options => fetch('login', options).then(answer => answer.status)", options) == 204
        )
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    page.goto(URL)
    if login:
        page.wait_for_selector("#uplink-list > li", timeout=15000)
        page.wait_for_selector("#streams .cards > li", timeout=15000)
    yield page
    assert [line for line in wrong if "status of 40" not in line and "ERR_" not in line] == []
    context.close()


def check(page: Any) -> list[str]:
    """What axe finds: rule, and where."""
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]


# --- how it looks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_is_readable_by_everybody(browser: Any, size: tuple[int, int], theme: str) -> None:
    with opened(browser, size, theme, device_scale_factor=2 if size == PHONE else 1) as page:
        assert page.inner_text("#verdict").startswith("STREAMING ")
        page.wait_for_selector('#top[data-code="1"]')
        page.locator("#problem-list", has_text="wlan0 dead").wait_for()
        # The worst first, among links and uplinks.
        assert page.inner_text("#streams .cards > li:first-child h3") == "wlan0"
        assert page.inner_text("#uplink-list > li:first-child h3") == "wlan0"
        page.wait_for_timeout(20_000 if os.environ.get("NETBOND_PICTURES") else 1500)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if os.environ.get("NETBOND_PICTURES"):
            save(page, f"page-{'phone' if size == PHONE else 'desktop'}-{theme}.webp")
        page.locator("#uplink-list summary").first.click()
        assert check(page) == []


def save(page: Any, name: str) -> None:
    """A picture of the first screen, below 60 kB."""
    from PIL import Image

    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(PICTURES / name, "WEBP", quality=70, method=6)
    assert (PICTURES / name).stat().st_size < 60_000


def test_it_is_there_within_3_s_over_200_kbit_per_s(browser: Any) -> None:
    with opened(browser) as page:
        wire = page.context.new_cdp_session(page)
        wire.send("Network.enable")
        wire.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 300, "downloadThroughput": 25_000, "uploadThroughput": 25_000},
        )
        began = time.monotonic()
        page.reload(wait_until="commit")
        page.wait_for_selector("#uplink-list > li")
        took = time.monotonic() - began
        print(f"there after {took:.2f} s")
        assert took < 3


def test_a_phone_can_install_it(browser: Any) -> None:
    with opened(browser) as page:
        wire = page.context.new_cdp_session(page)
        errors = wire.send("Page.getInstallabilityErrors")["installabilityErrors"]
        # Chromium asks this too of a window that leaves no traces, where nothing can be installed.
        assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []


def test_still_plots_for_those_who_ask_for_it(browser: Any) -> None:
    count = """const clear = CanvasRenderingContext2D.prototype.clearRect; window.draws = 0;
    CanvasRenderingContext2D.prototype.clearRect =
        function (...a) { window.draws++; return clear.apply(this, a); };"""

    def draws(motion: str) -> float:
        with opened(browser, reduced_motion=motion) as page:
            page.evaluate(f"() => {{ {count} }}")
            page.wait_for_timeout(3000)
            drawn, plots = page.evaluate("window.draws"), page.locator("canvas").count()
            return float(drawn / plots / 3)

    assert draws("reduce") <= 1.4
    assert draws("no-preference") > 2


# --- what happens ------------------------------------------------------------------------------------------


def test_a_modem_is_unplugged_and_plugged_in(browser: Any, lab: Lab) -> None:
    with opened(browser, DESKTOP) as page:
        names = page.locator("#uplink-list h3")
        assert "usb0" in names.all_inner_texts()
        weight = {"uplink": "usb0", "what": "weight", "value": 2}
        options = {"method": "POST", "body": json.dumps(weight), "headers": JSON}
        assert page.evaluate("options => fetch('set', options).then(answer => answer.status)", options) == 200
        lab.unplug("usb0")
        try:
            wait_for(lambda: "usb0" not in names.all_inner_texts(), 10, "usb0 is gone")
            page.get_by_text(re.compile("^usb0 unplugged")).first.wait_for(timeout=15000)
            # What was set of it can be taken back all the same.
            page.get_by_text("usb0 is not there: weight 2, set by the web page").wait_for(timeout=10000)
            assert check(page) == []
            page.get_by_role("button", name="usb0 as configured").click()
            page.get_by_text(re.compile("usb0: weight 2 unset by the web page")).first.wait_for(timeout=10000)
        finally:
            lab.plug("usb0")
        page.locator("#uplink-list h3", has_text="usb0").wait_for(timeout=30000)


def test_the_connection_is_lost(browser: Any, lab: Lab) -> None:
    with opened(browser) as page:
        [server] = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _is_page_of(entry, lab)
        ]
        os.kill(server, signal.SIGSTOP)
        try:
            page.get_by_text(re.compile(r"Not connected for \d+ s")).wait_for(timeout=10000)
            assert check(page) == []
            assert page.inner_text("#uplink-list > li:first-child h3") == "wlan0"  # readable all the same
        finally:
            os.kill(server, signal.SIGCONT)
        page.wait_for_selector("#lost", state="hidden", timeout=15000)
        os.kill(server, signal.SIGKILL)
        page.wait_for_timeout(5000)  # the agent starts it again
        page.wait_for_selector("#lost", state="hidden", timeout=20000)


def _is_page_of(entry: Path, lab: Lab) -> bool:
    with suppress(OSError):
        words = (entry / "cmdline").read_bytes().split(b"\0")
        return b"page" in words and any(str(lab.state_dir).encode() in word for word in words)
    return False


def test_by_keyboard_alone(browser: Any) -> None:
    with opened(browser, login=False) as page:
        page.wait_for_selector("#token", state="visible")
        assert check(page) == []
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("this is not the token").wait_for(timeout=5000)
        page.keyboard.press("Control+A")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#uplink-list > li", timeout=10000)

        def until(true: str, most: int = 60) -> None:
            for _ in range(most):
                if page.evaluate(f"(() => {{ const at = document.activeElement; return {true}; }})()"):
                    return
                page.keyboard.press("Tab")
            raise AssertionError(f"no Tab leads to {true}")

        until("at.tagName == 'SUMMARY' && at.textContent.includes('usb1')")
        page.keyboard.press("Enter")
        until("at.type == 'radio'")
        page.keyboard.press("ArrowRight")  # to backup
        until("at.tagName == 'BUTTON' && at.textContent == 'Set'")
        page.keyboard.press("Enter")
        page.get_by_text(re.compile("usb1 set backup by the web page")).first.wait_for(timeout=10000)
        page.wait_for_selector("#undo", state="visible")
        assert check(page) == []
        until("at.id == 'undo'", 120)
        page.keyboard.press("Enter")
        page.get_by_text(re.compile("usb1: backup unset by the web page")).first.wait_for(timeout=10000)


def test_the_last_uplink_needs_a_second_press(browser: Any, lab: Lab) -> None:
    def steps(page: Any, name: str, button: str) -> None:
        card = page.locator("#uplink-list > li", has=page.locator("h3", has_text=name))
        if not card.get_by_role("radio", name="Off").is_visible():
            card.locator("summary").click()
        card.get_by_role("radio", name="Off").check()
        card.get_by_role("button", name=button, exact=True).click()

    with opened(browser) as page:
        for name in ("usb0", "wwan0"):
            steps(page, name, "Set")
            page.get_by_text(re.compile(f"^{name} set off by the web page")).first.wait_for(timeout=10000)
        steps(page, "usb1", "Set")
        page.get_by_text(re.compile("usb1 is the last uplink that works")).wait_for(timeout=10000)
        assert check(page) == []
        steps(page, "usb1", "Set it off anyway")
        page.get_by_text(re.compile("^usb1 set off by the web page")).first.wait_for(timeout=10000)
        for name in ("usb0", "wwan0", "usb1"):
            card = page.locator("#uplink-list > li", has=page.locator("h3", has_text=name))
            if not card.get_by_role("button", name="As configured").is_visible():
                card.locator("summary").click()
            card.get_by_role("button", name="As configured").click()
            page.get_by_text(re.compile(f"{name}: off unset by the web page")).first.wait_for(timeout=10000)


def test_doctor(browser: Any) -> None:
    with opened(browser) as page:
        page.get_by_role("button", name="Check the box").click()
        page.wait_for_selector("#finding-list > li", timeout=60000)
        assert re.search(r"\d+ fine", page.inner_text("#doctor-said"))
        assert check(page) == []


def test_text_of_strangers_is_text(browser: Any) -> None:
    evil = "<img src=x onerror=alert(1)><b>bold</b>"
    uplink = {
        "name": evil,
        "family": 4,
        "address": evil,
        "state": "dead",
        "reason": evil,
        "modem": evil,
        "weight": 1,
    }
    link = {"state": "down", "reason": evil}
    state = {
        "verdict": f"UP: {evil}; {evil}",
        "code": 1,
        "version": evil,
        "problems": [["broken", evil, evil, 1]],
        "uplinks": {evil: uplink, "__proto__": uplink},
        "gone": {evil: [evil, evil, 1]},
        "senders": {evil: {"state": evil, "receiver": evil, "stream": evil, "links": {evil: link}}},
        "receivers": {evil: {"state": "running", "streams": {evil: {"name": evil, "live": True}}}},
        "events": {"1": [1, "error", evil]},
    }
    body = f"data: {json.dumps({'t': 5.0, 'p': state})}\n\n"
    with opened(browser, login=False) as page:
        page.route("**/live", lambda route: route.fulfill(content_type="text/event-stream", body=body))
        page.reload()
        page.wait_for_selector("#uplink-list > li")
        assert page.locator("main img, main b:not(.bar b)").count() == 0
        assert page.locator("#uplink-list h3").all_inner_texts() == [evil, evil]
        assert page.locator("#event-list span").inner_text() == evil
