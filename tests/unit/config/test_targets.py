"""Targets as users write them, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.targets import KINDS, is_host, is_name, parse


@pytest.mark.parametrize(
    ("kind", "text", "host", "port", "path"),
    [
        ("icmp", "1.1.1.1", "1.1.1.1", 0, ""),
        ("icmp", "2606:4700:4700::1111", "2606:4700:4700::1111", 0, ""),
        ("icmp", "example.org", "example.org", 0, ""),
        ("icmp", "gateway", "gateway", 0, ""),
        ("tcp", "1.1.1.1:443", "1.1.1.1", 443, ""),
        ("tcp", "[2606:4700:4700::1111]:443", "2606:4700:4700::1111", 443, ""),
        ("tcp", "example.org:80", "example.org", 80, ""),
        ("dns", "1.1.1.1", "1.1.1.1", 53, ""),
        ("dns", "1.1.1.1:5353", "1.1.1.1", 5353, ""),
        ("dns", "2606:4700:4700::1111", "2606:4700:4700::1111", 53, ""),
        ("dns", "[2606:4700:4700::1111]", "2606:4700:4700::1111", 53, ""),
        ("dns", "gateway", "gateway", 53, ""),
        ("http", "http://example.org", "example.org", 80, "/"),
        ("http", "http://example.org/generate_204?a=b#c", "example.org", 80, "/generate_204?a=b"),
        ("http", "http://192.0.2.1:8080/x", "192.0.2.1", 8080, "/x"),
        ("http", "http://[2001:db8::1]:8080/x", "2001:db8::1", 8080, "/x"),
    ],
)
def test_targets(kind: str, text: str, host: str, port: int, path: str) -> None:
    target = parse(kind, text)
    assert (target.text, target.host, target.port, target.path) == (text, host, port, path)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("gateway", "10.0.0.1"),
        ("icmp", ""),
        ("icmp", "300.1.1.1"),
        ("icmp", "1.1.1"),
        ("icmp", "fe80::1%usb0"),
        ("icmp", "224.0.0.1"),
        ("icmp", "0.0.0.0"),
        ("icmp", "ff02::1"),
        ("icmp", "a b"),
        ("icmp", "-a.example"),
        ("icmp", "a..b"),
        ("icmp", "ex\u00e4mple.org"),
        ("icmp", "a" * 64),
        ("tcp", "1.1.1.1"),
        ("tcp", "1.1.1.1:0"),
        ("tcp", "1.1.1.1:65536"),
        ("tcp", "1.1.1.1:http"),
        ("tcp", "1.1.1.1:"),
        ("tcp", "::1:443"),
        ("dns", "dns.example.org"),
        ("dns", "1.1.1.1:x"),
        ("http", "https://example.org/"),
        ("http", "example.org"),
        ("http", "http://"),
        ("http", "http:///x"),
        ("http", "http://user@example.org/"),
        ("http", "http://example.org:/"),
        ("http", "http://example.org/a b"),
        ("http", "http://example.org/\r\nX: y"),
        ("http", "http://example.org/\x00"),
        ("http", "http://2001:db8::1/"),
    ],
)
def test_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(kind, text)


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(KINDS), st.text(max_size=40))
def test_any_text_is_a_target_or_is_refused(kind: str, text: str) -> None:
    try:
        target = parse(kind, text)
    except ValueError:
        return
    assert target.host.isascii()
    assert not any(c.isspace() or not c.isprintable() for c in target.host + target.path)


@pytest.mark.parametrize(
    ("text", "host", "name"),
    [
        ("modem", True, True),
        ("srtla.example.net", True, True),
        ("example.net.", True, True),
        ("_srv.example.net", True, True),
        ("a" * 63, True, True),
        ("127.1", True, False),
        ("1.2.3.4", True, False),
        ("300.1.1.1", True, False),
        ("fe80::1", True, False),
        ("fe80::1%eth0.5", True, False),
        ("", False, False),
        ("-a", False, False),
        ("a..b", False, False),
        ("a b", False, False),
        ("a\n", False, False),
        ("modem%usb0", False, False),
        ("10.0.0.1%usb0", False, False),
        ("fe80::1%", False, False),
        ("fe80::1%a\n", False, False),
        ("fe80::1%a%b", False, False),
        ("a" * 64, False, False),
        (".".join(["a" * 60] * 5), False, False),
        ("bücher.example", False, False),
        ("\u0661.1.1.1", False, False),
    ],
)
def test_what_a_host_and_a_name_is(text: str, host: bool, name: bool) -> None:
    assert (is_host(text), is_name(text)) == (host, name)
