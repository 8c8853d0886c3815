"""What no single key tells: things that must differ, orders that must hold, names that must exist."""

from __future__ import annotations

import pytest

from netbond.config import crosscheck
from netbond.config.load import parse
from netbond.config.mistakes import Mistakes
from netbond.config.schema import Config
from netbond.errors import ConfigError
from tests.unit.config.wrong import without_line

CHECK = '[[check]]\nname="x"\n'

ENCODER = '[[sender]]\nlisten="[::1]:6000"\nreceiver="h:1"\n[sender.encoder]\nbitrate_file="/run/br"\n'

REFUSED = [
    (
        '[[uplink]]\nmatch = "usb0"\ntable = 20',
        "table 20 is not between main_priority = 50",
    ),
    (
        '[[uplink]]\nmatch = "usb*"\ntable = 150',
        "uplink 'usb*' sets table = 150 for a pattern",
    ),
    (
        "[routing]\noif_priority = 60",
        "routing priorities are out of order",
    ),
    (
        '[[sender]]\nlisten="[::1]:6000"\nreceiver="h:1"\n[[sender]]\nlisten="[::1]:6000"\nreceiver="h:2"',
        "two engines listen on [::1]:6000; give each a port of its own",
    ),
    (
        '[[receiver]]\nlisten="[::1]:6000"\nsrt="h:1"\nrequire_key = true',
        "receiver [::1]:6000 has require_key and no key_file; add key_file = ...",
    ),
    (
        '[[receiver]]\nlisten="[::1]:6000"\nsrt="h:1"\nstats_listen = "127.0.0.1:8181"',
        "receiver [::1]:6000 has one of stats_listen and stats_key_file; the page tells stream ids",
    ),
    (
        '[[receiver]]\nlisten="[::1]:6000"\nsrt="h:1"\nstats_key_file = "/k"',
        "receiver [::1]:6000 has one of stats_listen and stats_key_file; the page tells stream ids",
    ),
    (
        '[[receiver]]\nlisten="[::1]:6000"\nsrt="h:1"\nstats_listen = "0.0.0.0:10469"\nstats_key_file = "/k"',
        "two pages have the address 127.0.0.1:10469; give each a port of its own",
    ),
    (
        '[[sender]]\nlisten="127.0.0.1:6000"\nreceiver="h:1"\n[[receiver]]\nlisten="0.0.0.0:6000"\nsrt="h:2"',
        "two engines listen on 127.0.0.1:6000 and 0.0.0.0:6000, which is the same port;",
    ),
    (
        '[[receiver]]\nlisten="0.0.0.0:5000"\nsrt="localhost:5000"',
        "the receiver on 0.0.0.0:5000 has srt = 'localhost:5000', which is itself; name the",
    ),
    (
        '[[sender]]\nlisten="[::1]:6000"\nreceiver="[::1]:6000"',
        "the sender on [::1]:6000 has receiver = '[::1]:6000', which is itself; name",
    ),
    (
        '[[sender]]\nlisten="127.0.0.1:6000"\nreceiver=["h:1", "127.0.0.1:6000"]',
        "the sender on 127.0.0.1:6000 has receiver = '127.0.0.1:6000', which is itself; name",
    ),
    (
        f'{ENCODER}bitrate_min="9M"\nbitrate_max="8M"',
        "sender [::1]:6000: the least bitrate, 9000000 bit/s, is more than the most, 8000000; make",
    ),
    (
        ENCODER.replace("[sender.", 'mode="classic"\n[sender.'),
        "sender [::1]:6000: mode 'classic' has no advice for an encoder; use mode 'adaptive', or no",
    ),
    (
        f"{ENCODER}{ENCODER.replace('6000', '6001')}",
        "two senders have bitrate_file = '/run/br'; give each encoder a file of its own",
    ),
    (
        '[health]\nchecks = ["gatway"]',
        "health.checks names 'gatway', which is no check; did you mean 'gateway'?",
    ),
    (
        '[[uplink]]\nmatch = "a"\nchecks = ["bank"]',
        "uplink[1].checks names 'bank', which is no check; add a [[check]] of that name, or choose"
        " from gateway, icmp, tcp, dns, http",
    ),
    (
        "[health]\nhold_down = 500",
        "health.hold_down = 500 is more than hold_down_max = 300; make hold_down_max the larger one",
    ),
    (
        "[health]\ndegraded_loss = 20\nrecovery_loss = 21",
        "health.recovery_loss = 21 is more than degraded_loss = 20; an uplink recovers at a lower value",
    ),
    (
        "[health]\nrecovery_rtt = 1.5",
        "health.recovery_rtt = 1.5 is more than degraded_rtt = 1; an uplink recovers at a lower value",
    ),
    (
        '[health]\nrecovery_loss = 10\n[[uplink]]\nmatch = "a"\n[[uplink]]\nmatch = "b"\ndegraded_loss = 5',
        "uplink[2].recovery_loss = 10 is more than degraded_loss = 5; an uplink recovers at a lower value",
    ),
    (
        '[[check]]\nname="x"\nkind = "icmp"',
        "check[1] has no targets; add targets = [...], addresses or host names",
    ),
    (
        '[[check]]\nname="x"\nkind = "http"\ntargets = ["https://a.b/"]',
        "check[1].targets: 'https://a.b/' is not valid for kind = 'http'; expected plain 'http://host/p",
    ),
    (
        '[[check]]\nname="x"\nkind = "gateway"\ntargets = ["10.0.0.1"]',
        "check[1].targets: '10.0.0.1' is not valid for kind = 'gateway'; expected no ta",
    ),
    (
        '[[check]]\nname="x"\nkind = "icmp"\ntargets = ["1.1.1.1"]\nquery = "a.example"',
        "check[1].query is for kind = 'dns' only; leave it out",
    ),
    (
        '[[check]]\nname="x"\nkind = "tcp"\ntargets = ["1.1.1.1:1"]\nexpect = 200',
        "check[1].expect is for kind = 'http' only; leave it out",
    ),
    (
        '[[check]]\nname="x"\nkind = "icmp"\ntargets = ["1.1.1.1"]\ninterval = 0.1',
        "check[1]: interval = 0.1, timeout = 0 is too short; an interval is at least 0.2 s",
    ),
    (
        '[[check]]\nname="x"\nkind = "gateway"\n[[check]]\nname="x"\nkind = "gateway"',
        "two checks are named 'x'; give",
    ),
    (
        '[[check]]\nname = "x"\nkind = "command"',
        "check[1] has no command; add command = ['/path/of/a/program', ...]",
    ),
    (
        '[[check]]\nname = "x"\nkind = "command"\ncommand = ["/bin/true"]\nuser = "root"',
        "check[1].user is 'root'; name another user: a check needs no rights",
    ),
    (
        '[[check]]\nname = "x"\nkind = "gateway"\ncommand = ["/bin/true"]',
        "check[1]: command and user are for kind = 'command' only; leave them out",
    ),
    (
        '[[check]]\nname = "x"\nkind = "command"\ncommand = ["/bin/true"]\ntargets = ["a"]',
        "check[1].targets: 'a' is not valid for kind = 'command'; expected no targets: it runs its command",
    ),
    (
        2 * '[[hook]]\nname = "x"\ncommand = ["/bin/true"]\n',
        "two hooks are named 'x'; give each a name of its own",
    ),
    (
        '[router]\nlan = ["eth1"]\nmark_priority = 50',
        "router.mark_priority = 50 is not between main_priority = 50",
    ),
    (
        '[router]\nlan = ["eth1"]\nmark_priority = 100',
        "router.mark_priority = 100 is not between main",
    ),
    (
        '[router]\nlan = ["eth1"]\n[[uplink]]\nmatch = "eth1"',
        "'eth1' is both an uplink and in router.lan; an interface leads out or to the LAN",
    ),
    (
        '[[uplink]]\nmatch = "usb*"\nlabel = "left"',
        "uplink 'usb*' sets label = 'left' for a pattern",
    ),
    (
        '[[uplink]]\nmatch = {vendor = "12d1"}\ntable = 150',
        "uplink 'vendor=12d1' sets table = 150 for a pattern",
    ),
    (
        '[[uplink]]\nmatch = "usb0"\nlabel = "left"\n[[uplink]]\nmatch = "usb1"\nlabel = "left"',
        "label 'left' is given twice",
    ),
    (
        "[routing]\npin_table = 222",
        "routing.pin_table and routing.ecmp_table are both 222; give each a table of its own",
    ),
    (
        "[routing]\ntake_over_default = true",
        "routing.take_over_default = true with layout = 'default'; leave it out",
    ),
    (
        '[routing]\nlayout = "classic"\nclassic_priority = 221',
        "routing priorities are out of order: oif_priority = 40, main_priority = 50, classic_priority = 221",
    ),
    ("[routing]\ntable_bases = {usb = 216}", "table 220 is not between main_priority = 50 and pin_priority"),
    (
        '[[uplink]]\nmatch = "usb0"\ntable = 150\n[[uplink]]\nmatch = "usb1"\ntable = 150',
        "table 150 is given twice; each uplink needs a table of its own",
    ),
    (
        '[routing]\nlayout = "classic"\n[[uplink]]\nmatch = "usb0"\ntable = 222',
        "table 222 is given twice; each uplink needs a table of its own",
    ),
    (
        '[router]\nlan = ["eth1"]\nmark_priority = 201\n[routing]\nlayout = "classic"',
        "router.mark_priority = 201 is not between main_priority = 50 and the first table, 201",
    ),
    (
        '[page]\nenabled = true\nlisten = "0.0.0.0:443"\ntoken_file = "/t"',
        "page: listen = '0.0.0.0:443' is open to others, without token_file and certificate; add both, or",
    ),
    (
        '[page]\nenabled = true\nlisten = "[::]:443"\ncertificate = "/c"',
        "page: listen = '[::]:443' is open to others, without token_file and certificate; add both, or",
    ),
    (
        "[page]\nenabled = true\ncontrol = true",
        "page: control = true without token_file: every user of the box could set uplinks; add",
    ),
    (
        '[page]\nenabled = true\ncertificate_key = "/k"',
        "page: certificate_key is given, and no certificate; add certificate = ...",
    ),
    (
        '[page]\nenabled = true\nlisten = "0.0.0.0:10469"\ntoken_file = "/t"\ncertificate = "/c"',
        "two pages have the address 0.0.0.0:10469; give each a port of its own",
    ),
    (
        '[[sender]]\nlisten="0.0.0.0:6000"\nreceiver="h:1"\n[[sender]]\nlisten="0.0.0.0:6000"\nreceiver="h:1"',
        "two engines listen on 0.0.0.0:6000; give each a port of its own",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_does_not_go_together_is_named_with_a_remedy(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert without_line(caught.value).startswith(f"f.toml: {says}")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 78


def test_the_defaults_go_together() -> None:
    crosscheck.check(Config(), Mistakes("f.toml"), ["gateway"])


def test_a_check_must_be_built_in_or_in_the_file() -> None:
    with pytest.raises(ConfigError, match=r"health\.checks names 'gateway', which is no check; add a"):
        crosscheck.check(Config(), Mistakes("f.toml"), [])


def test_engines_that_only_look_alike_are_no_mistake() -> None:
    text = """
        [[sender]]
        listen = "0.0.0.0:6000"
        receiver = "203.0.113.5:6000"
        [[sender]]
        listen = "[::]:6000"
        receiver = "127.0.0.1:5000"
        [[receiver]]
        listen = "192.0.2.1:5000"
        srt = "127.0.0.1:5000"
    """
    assert len(parse(text).sender) == 2


def test_a_page_for_this_box_or_with_token_and_tls() -> None:
    for text in ("", 'listen = "127.0.0.5:1"', 'listen = "[::1]:1"', 'token_file = "/t"'):
        parse(f"[page]\nenabled = true\n{text}")
    parse('[page]\nenabled = true\nlisten = "0.0.0.0:443"\ntoken_file = "/t"\ncertificate = "/c"')
    parse('[page]\nlisten = "0.0.0.0:443"')  # it is not run


def test_a_query_and_a_status_may_be_said_where_they_belong() -> None:
    parse(CHECK + 'kind = "dns"\ntargets = ["1.1.1.1"]\nquery = "a.example"')
    parse(CHECK + 'kind = "http"\ntargets = ["http://a.example"]\nexpect = 200')


def test_a_name_may_be_anybodys_address() -> None:
    """Nobody can tell from the file where h leads."""
    parse('[[sender]]\nlisten="127.0.0.1:6000"\nreceiver="h:6000"')


def test_any_table_may_be_used_in_the_classic_layout() -> None:
    parse('[routing]\nlayout = "classic"\n[[uplink]]\nmatch = "usb0"\ntable = 20')


def test_what_is_switched_off_as_an_uplink_may_be_lan() -> None:
    parse('[router]\nlan = ["eth1"]\n[[uplink]]\nmatch = "eth1"\nenabled = false')
