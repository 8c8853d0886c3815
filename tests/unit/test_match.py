"""Labels, tables and settings follow the port, however interfaces are named and whoever else is there."""

import random

import pytest

from netbond.config.load import parse
from netbond.config.pattern import Match, from_properties, of_links, port_order
from netbond.config.schema import Config, UplinkConfig
from netbond.errors import ConfigError
from netbond.match import choose, label_tables, reserved_tables
from netbond.model import Device, Link

# A HiLink stick as udev 252 has it (udevadm info), and a card on the board.
HILINK = {
    "ACTION": "add", "INTERFACE": "usb0", "SUBSYSTEM": "net", "ID_BUS": "usb", "ID_VENDOR": "HUAWEI_MOBILE",
    "ID_VENDOR_ID": "12d1", "ID_VENDOR_FROM_DATABASE": "Huawei Technologies Co., Ltd.",
    "ID_MODEL": "HUAWEI_MOBILE",
    "ID_MODEL_ID": "14db", "ID_MODEL_FROM_DATABASE": "E353/E3131",
    "ID_SERIAL": "HUAWEI_MOBILE_0123456789ABCDEF",
    "ID_SERIAL_SHORT": "0123456789ABCDEF", "ID_PATH": "pci-0000:00:14.0-usb-0:1.2:1.0",
    "ID_USB_DRIVER": "cdc_ether", "ID_NET_DRIVER": "cdc_ether", "ID_NET_NAME_MAC": "enx0c5b8f279a64",
}  # fmt: skip
CARD = {
    "INTERFACE": "enp3s0", "ID_BUS": "pci", "ID_VENDOR_ID": "0x8086", "ID_MODEL_ID": "0x1533",
    "ID_PATH": "pci-0000:03:00.0", "ID_NET_DRIVER": "igb",
}  # fmt: skip

MAC = "0c:5b:8f:27:9a:64"  # every HiLink stick has it


def stick(name: str, port: str, **more: str) -> Device:
    """A HiLink stick in a port: all of them are alike."""
    device = from_properties(name, HILINK | {"ID_PATH": f"pci-0000:00:14.0-usb-0:{port}:1.0"}, MAC)
    return Device(**{**{f: getattr(device, f) for f in Device.__slots__}, **more})


def config(*uplinks: str) -> Config:
    return parse("".join(f"[[uplink]]\n{text}\n" for text in uplinks), "f.toml")


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


def test_as_json() -> None:
    assert Device("usb0", vendor="12d1", mac=MAC).as_dict() == {"vendor": "12d1", "mac": MAC}


def test_devices_of_links() -> None:
    links = [
        Link("lo", 1, loopback=True),
        Link("usb0", 2, mac=MAC.upper()),
        Link("eth0", 3, mac="02:00:00:00:00:01"),
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
    uplink = config(f"match = {match}").uplink[0]
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


REFUSED = [
    (["match = {}"], "uplink[1].match = {} is not valid; expected a pattern for at least one"),
    (['match = {port = "x"}'], "uplink[1].match = {'port': 'x'} is not valid; expected "),
    (['match = {pfad = "x"}'], "uplink[1].match = {'pfad': 'x'} is not valid; expected "),
    (['match = {venndor = "x"}'], "uplink[1].match = {'venndor': 'x'} is not valid; expected 'vendor'"),
    (["match = {path = 1}"], "uplink[1].match = {'path': 1} is not valid; expected a pattern for"),
    (['match = {path = ""}'], "uplink[1].match = {'path': ''} is not valid; expected a pattern for"),
    (['match = {path = "a\\nb"}'], "uplink[1].match = {'path': 'a\\nb'} is not valid; expected a pat"),
    (['match = "usb0"\nlabel = "a\\nb"'], "uplink[1].label = 'a\\nb' is not valid; expected at most"),
    (['match = "usb0"\nlabel = " a"'], "uplink[1].label = ' a' is not valid; expected at most"),
    (['match = "usb*"\nlabel = "left"'], "uplink 'usb*' sets label = 'left' for a pattern"),
    (['match = {vendor = "12d1"}\ntable = 150'], "uplink 'vendor=12d1' sets table = 150 for a pattern"),
    (['match = "usb0"\nlabel = "left"', 'match = "usb1"\nlabel = "left"'], "label 'left' is given twice"),
]  # fmt: skip


@pytest.mark.parametrize(("uplinks", "says"), REFUSED)
def test_what_the_configuration_cannot_say(uplinks: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(*uplinks)
    assert str(caught.value).startswith(f"f.toml: {says}")
    assert "\n" not in str(caught.value)


# --- who gets what -----------------------------------------------------------------------------------------

TWO_PORTS = (
    'match = {path = "*usb-0:1.2:*"}\nlabel = "left"\nweight = 2',
    'match = {path = "*usb-0:1.3:*"}\nlabel = "right"\ntable = 150',
    'match = "eth*"\nweight = 9',
)


def seen(settings: dict[str, UplinkConfig], name: str) -> tuple[str, int, int | str]:
    return (settings[name].label, settings[name].table, settings[name].weight)


def test_names_are_shuffled_after_a_reboot_and_nothing_changes() -> None:
    conf = config(*TWO_PORTS)
    left = label_tables(conf)["left"]
    before = choose([stick("usb0", "1.2"), stick("usb1", "1.3")], conf)
    assert seen(dict(before.settings), "usb0") == ("left", left, 2)
    assert seen(dict(before.settings), "usb1") == ("right", 150, 1)
    assert before.problems == ()
    after = choose([stick("usb0", "1.3"), stick("usb1", "1.2")], conf)
    assert seen(dict(after.settings), "usb1") == ("left", left, 2)
    assert seen(dict(after.settings), "usb0") == ("right", 150, 1)
    renamed = choose([stick("enx0c5b8f279a64", "1.2")], conf)
    assert seen(dict(renamed.settings), "enx0c5b8f279a64") == ("left", left, 2)


def test_a_modem_in_another_port_is_that_ports_uplink() -> None:
    conf = config(*TWO_PORTS)
    assert choose([stick("usb0", "1.3")], conf).labels == {"usb0": "right"}
    elsewhere = choose([stick("usb0", "1.4")], conf)
    assert elsewhere.labels == {"usb0": "usb0"}
    assert elsewhere.settings == {}
    assert [u.label for u in elsewhere.unused] == ["left", "right", ""]


def test_two_alike_are_swapped() -> None:
    """Where a stick is counts, when it cannot be told from the other one."""
    conf = config(*TWO_PORTS)
    one = choose([stick("usb0", "1.2"), stick("usb1", "1.3")], conf)
    swapped = choose([stick("usb1", "1.2"), stick("usb0", "1.3")], conf)
    assert one.labels == {"usb0": "left", "usb1": "right"}
    assert swapped.labels == {"usb1": "left", "usb0": "right"}


def test_where_they_differ_the_stick_itself_counts() -> None:
    conf = config('match = {serial = "A"}\nlabel = "a"', 'match = {serial = "B"}\nlabel = "b"')
    for ports in (("1.2", "1.3"), ("1.3", "1.2")):
        found = choose([stick("usb0", ports[0], serial="A"), stick("usb1", ports[1], serial="B")], conf)
        assert found.labels == {"usb0": "a", "usb1": "b"}


def test_two_with_one_mac_address() -> None:
    conf = config(f'match = {{mac = "{MAC}"}}\nlabel = "stick"\nweight = 3\ntable = 151')
    for order in (1, -1):
        found = choose([stick("usb0", "1.10"), stick("usb1", "1.9")][::order], conf)
        assert found.labels == {"usb1": "stick", "usb0": "usb0"}
        assert seen(dict(found.settings), "usb1") == ("stick", 151, 3)
        assert seen(dict(found.settings), "usb0") == ("", 0, 3)  # the other settings are for both
        assert found.problems == (
            f"[[uplink]] mac={MAC} fits usb1 and usb0: usb1 has label 'stick', being first by port;"
            " a narrower path tells them apart",
        )


def test_the_first_that_fits_wins() -> None:
    conf = config('match = {driver = "cdc_ether"}\nweight = 5', *TWO_PORTS)
    found = choose([stick("usb0", "1.2")], conf)
    assert found.labels == {"usb0": "usb0"}
    assert found.settings["usb0"].weight == 5
    assert [u.match for u in found.unused] == ["path=*usb-0:1.3:*", "eth*"]


def test_no_label_is_there_twice() -> None:
    conf = config('match = {path = "*usb-0:1.2:*"}\nlabel = "usb1"')
    found = choose([stick("usb0", "1.2"), stick("usb1", "1.3")], conf)
    assert found.labels == {"usb0": "usb1", "usb1": "other usb1"}
    assert found.problems == ("usb1 has the name that is another interface's label",)


def test_the_order_of_finding_does_not_matter() -> None:
    conf = config(*TWO_PORTS, f'match = {{mac = "{MAC}"}}\nlabel = "third"')
    devices = [stick(f"usb{i}", f"1.{port}") for i, port in enumerate((5, 3, 4, 2, 10))]
    expected = choose(devices, conf)
    assert expected.labels == {
        "usb3": "left",
        "usb1": "right",
        "usb2": "third",
        "usb0": "usb0",
        "usb4": "usb4",
    }
    for seed in range(20):
        random.Random(seed).shuffle(devices)
        assert choose(devices, conf) == expected


# --- tables of labels --------------------------------------------------------------------------------------


def test_tables_of_labels_depend_on_the_configuration_alone() -> None:
    texts = [f'match = {{path = "*:1.{i}:*"}}\nlabel = "modem {i}"' for i in range(1, 30)]
    tables = label_tables(config(*texts))
    assert len(set(tables.values())) == len(tables) == 29
    assert all(130 <= table <= 219 for table in tables.values())
    assert label_tables(config(*texts[:5])) == {label: tables[label] for label in list(tables)[:5]}


def test_tables_of_labels_step_aside() -> None:
    alone = label_tables(config('match = "x"\nlabel = "left"'))["left"]
    conf = config('match = "x"\nlabel = "left"', f'match = "y"\ntable = {alone}')
    assert label_tables(conf)["left"] == alone + 1 if alone < 219 else 130
    assert reserved_tables(conf) == {alone, label_tables(conf)["left"]}


def test_a_traditional_label_has_its_traditional_table() -> None:
    conf = config('match = {path = "*:1.2:*"}\nlabel = "usb0"', 'match = {path = "*:1.3:*"}\nlabel = "usb9"')
    tables = label_tables(conf)
    assert tables["usb0"] == 100
    assert tables["usb9"] >= 130


def test_a_range_that_is_used_up() -> None:
    texts = [f'match = {{path = "*:1.{i}:*"}}\nlabel = "m{i}"' for i in range(3)]
    conf = parse("[routing]\ntables = [130, 131]\n" + "".join(f"[[uplink]]\n{t}\n" for t in texts))
    assert sorted(label_tables(conf).values()) == [130, 131]
    found = choose([Device(f"usb{i}", path=f"usb-0:1.{i}:1.0") for i in range(3)], conf)
    assert [found.settings[f"usb{i}"].table for i in range(3)][2] == 0
    assert found.labels["usb2"] == "m2"
