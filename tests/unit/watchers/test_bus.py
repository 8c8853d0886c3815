"""The copy of a service's objects, and the cleaning of values."""

from __future__ import annotations

import pytest
from dbus_next import Message, Variant

from netbond.watchers.bus import OBJECT_MANAGER, PROPERTIES, Mirror, Service, device_name, plain, text

WANTED = {"a.Device": frozenset({"State", "Name"}), "a.Config": frozenset({"Gateway"})}


def mirror() -> Mirror:
    made = Mirror(WANTED)
    made.load(
        {
            "/1": {"a.Device": {"State": Variant("u", 10), "Secret": Variant("s", "x")}, "a.Other": {}},
            "/2": {"a.Other": {"State": Variant("u", 1)}},
        }
    )
    return made


def signal(interface: str, member: str, signature: str, *body: object, path: str = "/1") -> Message:
    return Message.new_signal(path, interface, member, signature, list(body))


def test_only_what_is_wanted_is_kept() -> None:
    assert mirror().objects == {"/1": {"a.Device": {"State": 10}}}


def test_changes() -> None:
    copy = mirror()
    changed = ("PropertiesChanged", "sa{sv}as")
    assert copy.apply(signal(PROPERTIES, *changed, "a.Device", {"State": Variant("u", 100)}, []))
    assert copy.objects["/1"]["a.Device"] == {"State": 100}
    assert not copy.apply(signal(PROPERTIES, *changed, "a.Device", {"State": Variant("u", 100)}, [])), (
        "no news"
    )
    assert not copy.apply(signal(PROPERTIES, *changed, "a.Device", {"Secret": Variant("s", "y")}, []))
    assert not copy.apply(signal(PROPERTIES, *changed, "a.Other", {"State": Variant("u", 5)}, []))
    assert not copy.apply(signal(PROPERTIES, *changed, "a.Device", {"State": Variant("u", 5)}, [], path="/9"))
    assert copy.apply(signal(PROPERTIES, *changed, "a.Device", {}, ["State"]))
    assert copy.objects == {"/1": {"a.Device": {}}}


def test_objects_come_and_go() -> None:
    copy = mirror()
    added = ("InterfacesAdded", "oa{sa{sv}}")
    removed = ("InterfacesRemoved", "oas")
    config = {"a.Config": {"Gateway": Variant("s", "10.0.0.1")}}
    assert copy.apply(signal(OBJECT_MANAGER, *added, "/3", config))
    assert not copy.apply(signal(OBJECT_MANAGER, *added, "/3", config)), "no news"
    assert not copy.apply(signal(OBJECT_MANAGER, *added, "/4", {"a.Other": {}}))
    assert copy.objects["/3"] == {"a.Config": {"Gateway": "10.0.0.1"}}
    assert copy.apply(signal(OBJECT_MANAGER, *removed, "/3", ["a.Config", "a.Other"]))
    assert not copy.apply(signal(OBJECT_MANAGER, *removed, "/3", ["a.Config"]))
    assert "/3" not in copy.objects
    assert "/4" not in copy.objects


def test_early_signals_may_be_repeated() -> None:
    """Those between the call and its reply may be counted in already: the newest value wins either way."""
    changes = [
        signal(PROPERTIES, "PropertiesChanged", "sa{sv}as", "a.Device", {"State": Variant("u", n)}, [])
        for n in (20, 30, 40)
    ]
    for counted_in in range(4):
        copy = mirror()
        for message in changes[:counted_in]:
            copy.apply(message)
        for message in changes:
            copy.apply(message)
        assert copy.objects["/1"]["a.Device"]["State"] == 40


@pytest.mark.parametrize(
    "message",
    [
        signal(PROPERTIES, "PropertiesChanged", "s", "a.Device"),
        signal(PROPERTIES, "Other", "sa{sv}as", "a.Device", {"State": Variant("u", 5)}, []),
        signal("x.y", "PropertiesChanged", "sa{sv}as", "a.Device", {"State": Variant("u", 5)}, []),
        signal(OBJECT_MANAGER, "InterfacesRemoved", "s", "/1"),
        signal(OBJECT_MANAGER, "InterfacesAdded", ""),
    ],
)
def test_signals_of_another_shape(message: Message) -> None:
    copy = mirror()
    assert not copy.apply(message)
    assert copy.objects == mirror().objects


@pytest.mark.parametrize("managed", [None, [], "x", {"/1": None}, {"/1": {"a.Device": None}}, {"/1": []}])
def test_a_reply_of_another_shape(managed: object) -> None:
    copy = Mirror(WANTED)
    copy.load(managed)
    assert copy.objects == {}


def test_variants_are_taken_off_at_every_depth() -> None:
    value = Variant("a{sv}", {"a": Variant("av", [Variant("u", 1), Variant("(us)", [2, "x"])])})
    assert plain(value) == {"a": [1, [2, "x"]]}


def test_match_rules_are_bounded() -> None:
    """Each names its sender, and property changes their interface: no access point's signal wakes netbond."""
    rules = list(Service("A", "a.b", "/a", "/a/b", WANTED).rules())
    assert rules == [
        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='a.b'",
        "type='signal',sender='a.b',path='/a',interface='org.freedesktop.DBus.ObjectManager'",
        "type='signal',sender='a.b',path_namespace='/a/b',interface='org.freedesktop.DBus.Properties',"
        "member='PropertiesChanged',arg0='a.Device'",
        "type='signal',sender='a.b',path_namespace='/a/b',interface='org.freedesktop.DBus.Properties',"
        "member='PropertiesChanged',arg0='a.Config'",
    ]


@pytest.mark.parametrize("name", ["usb0", "enx001122334455", "wlan0.100", "a-b_c", "tun!"])
def test_names_of_interfaces(name: str) -> None:
    assert device_name(name) == name


def test_text() -> None:
    assert text("  a\tb \u200b c\n", 10) == r"a b \u200…"
    assert text("abcdef", 3) == "ab…"
    assert text(b"abc") == ""
