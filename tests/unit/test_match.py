"""Labels, tables and settings follow the port, however interfaces are named and whoever else is there."""

import random

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config, UplinkConfig
from netbond.errors import ConfigError
from netbond.match import choose, label_tables, reserved_tables
from netbond.model import Device
from tests.unit.boxes import MAC, stick
from tests.unit.config.wrong import without_line


def config(*uplinks: str) -> Config:
    return parse("".join(f"[[uplink]]\n{text}\n" for text in uplinks), "f.toml")


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
]  # fmt: skip


@pytest.mark.parametrize(("uplinks", "says"), REFUSED)
def test_what_the_configuration_cannot_say(uplinks: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(*uplinks)
    assert without_line(caught.value).startswith(f"f.toml: {says}")
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
