"""Which physical thing an interface is, and which patterns fit it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.config.load import parse
from netbond.config.pattern import Match, from_properties, looks_like_regex, of_links, port_order
from netbond.model import Device, Interface
from tests.unit.boxes import CARD, HILINK, MAC, stick

# --- devices -----------------------------------------------------------------------------------------------


def test_what_udev_knows() -> None:
    assert from_properties("usb0", HILINK, MAC.upper()) == Device(
        name="usb0",
        path="pci-0000:00:14.0-usb-0:1.2:1.0",
        vendor="12d1",
        model="14db",
        vendor_name="Huawei Technologies Co., Ltd.",
        model_name="E353/E3131",
        serial="0123456789ABCDEF",
        driver="cdc_ether",
        mac=MAC,
        bus="usb",
    )
    card = from_properties("enp3s0", CARD)
    assert (card.vendor, card.model, card.path, card.driver, card.bus) == (
        "8086", "1533", "pci-0000:03:00.0", "igb", "pci",
    )  # fmt: skip
    assert from_properties("usb0", {}) == Device("usb0")
    assert from_properties("usb0", {"ID_VENDOR": "HUAWEI_MOBILE"}).vendor_name == "HUAWEI MOBILE"
    assert from_properties("usb0", {"ID_USB_DRIVER": "rndis_host"}).driver == "rndis_host"


def test_what_a_strange_stick_says_is_one_short_line() -> None:
    device = from_properties("usb0", {"ID_VENDOR": "a\nb\x1b[31m" + "x" * 4000, "ID_SERIAL_SHORT": "\0\r"})
    assert len(device.vendor_name) <= 96
    assert device.vendor_name.isprintable()
    assert device.serial == r"\x00"


def test_devices_of_links() -> None:
    links = [
        Interface("lo", 1, loopback=True),
        Interface("usb0", 2, mac=MAC.upper()),
        Interface("eth0", 3, mac="02:00:00:00:00:01"),
    ]
    known = [Device("usb0", path="p", mac="00:00:00:00:00:00"), Device("usb7", path="gone")]
    assert of_links(links, known) == (
        Device("usb0", path="p", mac=MAC),  # the MAC address is the link's own: it can be changed at any time
        Device("eth0", mac="02:00:00:00:00:01"),
    )


def test_ports_in_the_order_that_people_count() -> None:
    devices = [stick("a", "1.10"), stick("b", "1.2"), Device("d"), stick("c", "1.3"), Device("c0")]
    assert [device.name for device in sorted(devices, key=port_order)] == ["b", "c", "a", "c0", "d"]


# --- patterns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ('"usb0"', True),
        ('"usb*"', True),
        ('"usb1"', False),
        ('{name = "usb?"}', True),
        ('{path = "*usb-0:1.2:*"}', True),
        ('{path = "*usb-0:1.2*"}', True),
        ('{path = "*usb-0:1.3*"}', False),
        ('{path = "pci-0000:00:14.0-usb-0:1.2:1.0"}', True),
        ('{vendor = "12d1"}', True),
        ('{vendor = "12D1"}', True),
        ('{vendor = "huawei*"}', True),
        ('{vendor = "Huawei Technologies*"}', True),
        ('{vendor = "19d2"}', False),
        ('{vendor = "12d1", model = "14db"}', True),
        ('{vendor = "12d1", model = "1506"}', False),  # all must fit
        ('{model = "E353*"}', True),
        ('{serial = "0123456789ABCDEF"}', True),
        ('{mac = "0C:5B:8F:27:9A:64"}', True),
        ('{mac = "0c:5b:*"}', True),
        ('{mac = "02:*"}', False),
        ('{driver = "cdc_*"}', True),
        ('{driver = "rndis_host"}', False),
        ('{path = "*usb-0:1.2:*", driver = "cdc_ether", name = "eth*"}', False),
    ],
)
def test_patterns(match: str, fits: bool) -> None:
    uplink = parse(f"[[uplink]]\nmatch = {match}").uplink[0]
    assert Match.parse(uplink.match).fits(stick("usb0", "1.2")) is fits


def test_what_is_not_known_fits_nothing() -> None:
    for key in ("path", "vendor", "model", "serial", "mac", "driver"):
        assert not Match(**{key: "*"}).fits(Device("usb0"))


@pytest.mark.parametrize(
    ("match", "text", "single"),
    [
        (Match(name="usb0"), "usb0", True),
        (Match(name="usb*"), "usb*", False),
        (Match(path="*usb-0:1.2:*"), "path=*usb-0:1.2:*", True),
        (Match(name="usb*", driver="cdc_ether"), "name=usb* driver=cdc_ether", False),
        (Match(vendor="12d1", model="14db"), "vendor=12d1 model=14db", False),
        (Match(serial="x"), "serial=x", True),
        (Match(mac="02:*"), "mac=02:*", True),
    ],
)
def test_text_and_back(match: Match, text: str, single: bool) -> None:
    assert str(match) == text
    assert Match.parse(text) == match
    assert match.single is single
    assert (
        parse(f'[[uplink]]\nmatch = "{match.name}"').uplink[0].match == text if match.name == text else True
    )


def test_a_name_with_an_equals_sign_is_a_name() -> None:
    assert Match.parse("a=b") == Match(name="a=b")
    with pytest.raises(ValueError, match="there is no 'colour' to match by"):
        Match.parse("path=x colour=red")


NAMES = ["usb0", "usb1", "usb10", "eth0", "ubx", "b", "usb", "usb*", "u[a]"]
GLOBS = st.text(alphabet="usb01*?[]", min_size=1, max_size=6)


@given(GLOBS, GLOBS, st.sampled_from(NAMES))
def test_what_covers_a_pattern_fits_all_that_it_fits(one: str, other: str, name: str) -> None:
    if Match(name=one).covers(Match(name=other)) and Match(name=other).fits(Device(name)):
        assert Match(name=one).fits(Device(name))


def test_covering() -> None:
    assert Match(name="*").covers(Match(name="usb?"))
    assert Match(name="usb*").covers(Match(name="usb0", path="*1.2*"))
    assert not Match(name="usb*", path="*1.2*").covers(Match(name="usb0"))
    assert not Match(name="usb?").covers(Match(name="usb*"))
    assert not Match().covers(Match(name="usb0"))


@pytest.mark.parametrize("name", ["usb.*", "^usb", "usb[0-9]+", r"usb\d", "usb(0|1)", "usb0$"])
def test_what_looks_like_a_regular_expression(name: str) -> None:
    assert looks_like_regex(name)


@pytest.mark.parametrize("name", ["usb*", "eth0.*", "eth0.100", "usb[0-9]*", "wwan?", "br-lan"])
def test_what_does_not(name: str) -> None:
    assert not looks_like_regex(name)
