"""The leases that dhclient holds when netbond is installed."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from netbond.installation.leases import held

NOW = datetime.datetime(2026, 11, 30, 12, 0, 0, tzinfo=datetime.UTC)
FILE = """\
default-duid "\\000\\001\\000\\001";
lease {
  interface "usb1";
  fixed-address 192.168.9.7;
  option subnet-mask 255.255.255.0;
  option routers 192.168.9.1;
  expire 1 2026/11/30 11:00:00;
}
lease {
  interface "usb1";
  fixed-address 192.168.8.100;
  option subnet-mask 255.255.255.0;
  option routers 192.168.8.1,192.168.8.2;
  option domain-name "a { b }; c";
  renew 1 2026/11/30 12:20:00;
  expire 1 2026/11/30 13:00:00;
}
lease {
  interface "usb2";
  fixed-address 10.0.0.2;
  expire 1 2026/11/30 11:59:59;
}
"""


def test_the_last_lease_counts_if_it_is_in_force() -> None:
    assert list(held(FILE, NOW)) == [
        {
            "reason": "BOUND",
            "interface": "usb1",
            "new_ip_address": "192.168.8.100",
            "new_subnet_mask": "255.255.255.0",
            "new_routers": "192.168.8.1 192.168.8.2",
        }
    ]


def test_times_in_other_forms() -> None:
    def lease(expire: str) -> str:
        return f'lease {{\n  interface "a";\n  fixed-address 10.0.0.2;\n  expire {expire};\n}}\n'

    assert list(held(lease("never"), NOW))
    assert list(held(lease(f"epoch {int(NOW.timestamp()) + 1}; # a comment"), NOW))
    assert not list(held(lease(f"epoch {int(NOW.timestamp())}; # a comment"), NOW))
    assert not list(held(lease("1 2026/99/99 11:00:00"), NOW))


@given(st.text(alphabet='lease {}\n";interfacfxd-0.12/:', max_size=200))
def test_no_text_is_too_much(text: str) -> None:
    list(held(text, NOW))
    list(held(FILE + text, NOW))
