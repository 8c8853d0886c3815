"""Several IPv6 routers on one link: the kernel's choice among them is netbond's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.advertise import advertise
from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root


def test_the_router_with_the_higher_preference_is_used_and_then_the_other(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        sh("ip", "netns", "exec", box.far, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        box.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        box.plug("usb0", 0)
        box.plug("usb1", 1)
        for number in (1, 2):
            sh("ip", "-n", box.far, "addr", "add", f"fe80::{number}/64", "dev", "p0", "nodad")

        def say(number: int, preference: str, lifetime_s: int = 1800) -> None:
            advertise(box.far, "p0", "2001:db8:a::/64", source=f"fe80::{number}",
                      preference=preference, lifetime_s=lifetime_s)  # fmt: skip

        def defaults() -> int:
            say(1, "low")
            say(2, "high")
            return box.ip("-6", "route", "show", "default").count("via")

        def by(gateway: str) -> bool:
            return f"default via {gateway} dev usb0" in box.ip("-6", "route", "show", "table", "100")

        wait_for(lambda: defaults() == 2, 5, "both have advertised themselves")
        box.start()
        wait_for(lambda: by("fe80::2"), 2, "the one with the high preference")
        say(2, "high", lifetime_s=0)
        wait_for(lambda: by("fe80::1"), 2, "the other, once it has withdrawn itself")
        say(2, "high")
        wait_for(lambda: by("fe80::2"), 2, "it is back")
        say(2, "high", lifetime_s=1)
        wait_for(lambda: by("fe80::1"), 4, "the other, once its lifetime has ended")
