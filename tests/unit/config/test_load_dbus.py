"""The keys for NetworkManager and ModemManager."""

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.errors import ConfigError
from tests.unit.config.wrong import without_line


def test_both_are_followed_unless_told_otherwise() -> None:
    assert (Config().agent.networkmanager, Config().agent.modemmanager) == (True, True)
    agent = parse("[agent]\nnetworkmanager = false\nmodemmanager = false").agent
    assert (agent.networkmanager, agent.modemmanager) == (False, False)


def test_roaming_excludes_only_where_asked() -> None:
    config = parse('[[uplink]]\nmatch = "wwan0"\nexclude_roaming = true\n[[uplink]]\nmatch = "usb*"')
    assert [uplink.exclude_roaming for uplink in config.uplink] == [True, False]


REFUSED = [
    ("[agent]\nmodemmanager = 1", "f: agent.modemmanager = 1 is not valid; expected true or false"),
    (
        "[agent]\nnetwork_manager = true",
        "f: agent has an unknown key 'network_manager'; did you mean 'netw",
    ),
    (
        '[[uplink]]\nmatch = "a"\nexclude_roaming = "yes"',
        "f: uplink[1].exclude_roaming = 'yes' is not valid",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_errors(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert without_line(caught.value).startswith(says)
