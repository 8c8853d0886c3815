"""The sockets of the engines, and what is said of those that cannot be opened."""

from __future__ import annotations

import errno
import socket

import pytest

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process.linksocket import (
    Endpoint,
    family_of,
    open_link,
    open_listener,
    open_towards,
    reason,
)

LOCAL: Endpoint = (socket.AF_INET, "127.0.0.1", 9)


def test_a_link_leaves_by_its_address_device_and_port() -> None:
    with open_link(LinkSpec("lo", "127.0.0.2", "lo"), LOCAL) as sock:
        host, port = sock.getsockname()
        assert host == "127.0.0.2"
        assert sock.getpeername() == ("127.0.0.1", 9)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        with open_link(LinkSpec("lo", "127.0.0.2"), LOCAL, port) as other:
            assert other.getsockname()[1] not in (0, port), "that one is in use"
    with open_link(LinkSpec("lo", "127.0.0.2"), LOCAL, port) as again:
        assert again.getsockname()[1] == port


def test_a_link_over_ipv6() -> None:
    with open_link(LinkSpec("lo", "::1", "lo"), (socket.AF_INET6, "::1", 9)) as sock:
        assert sock.getsockname()[0] == "::1"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (LinkSpec("a", "192.0.2.77"), "the address is not on this box"),
        (LinkSpec("a", "127.0.0.1", "usb77"), "the device is not there"),
    ],
)
def test_a_link_that_cannot_be_opened(spec: LinkSpec, says: str) -> None:
    with pytest.raises(OSError, match="Errno") as error:
        open_link(spec, LOCAL)
    assert reason(error.value) == says


def test_errors_in_words() -> None:
    assert reason(OSError(errno.ENETUNREACH, "x")) == "no route to the receiver"
    assert reason(OSError(errno.ENOBUFS, "No buffer space available")) == "No buffer space available"
    assert reason(OSError(errno.ENOBUFS, "")) == "No buffer space available"
    assert family_of("::1") == socket.AF_INET6


def test_a_listener_on_every_address_hears_both_families() -> None:
    with open_listener(HostPort("", 0), "tests") as sock:
        port = sock.getsockname()[1]
        sock.settimeout(2)
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as peer:
                peer.sendto(b"?", (host, port))
                assert sock.recv(9) == b"?"


def test_a_port_in_use_is_named_and_who_has_it_can_be_found() -> None:
    with open_listener(HostPort("127.0.0.1", 0), "tests") as sock:
        port = sock.getsockname()[1]
        with pytest.raises(UnavailableError) as error:
            open_listener(HostPort("127.0.0.1", port), "SRTLA senders")
        assert str(error.value).startswith(f"127.0.0.1:{port} (UDP) is in use by another program")
        assert f"ss -ulpn sport = :{port}" in str(error.value)
        with pytest.raises(UnavailableError, match=f"UDP port {port} is in use"):
            open_listener(HostPort("", port), "SRTLA senders")


def test_an_address_of_another_box() -> None:
    with pytest.raises(UnavailableError, match=r"192\.0\.2\.77:5000"):
        open_listener(HostPort("192.0.2.77", 5000), "tests")


def test_a_port_for_root_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(
        "netbond.srtla.process.linksocket.socket.socket", type("Refusing", (socket.socket,), {"bind": refuse})
    )
    with pytest.raises(UnavailableError, match="may be opened by root only"):
        open_listener(HostPort("127.0.0.1", 80), "tests")


def test_several_listeners_that_share_a_port() -> None:
    with open_listener(HostPort("127.0.0.1", 0), "tests", shared=True) as first:
        where = HostPort("127.0.0.1", first.getsockname()[1])
        with open_listener(where, "tests", shared=True) as second:
            assert second.getsockname() == first.getsockname()
        with pytest.raises(UnavailableError):
            open_listener(where, "tests")


def test_a_socket_towards_the_srt_server_keeps_its_port_if_it_can() -> None:
    with open_towards(LOCAL) as sock:
        port = sock.getsockname()[1]
        with open_towards(LOCAL, port) as other:
            assert other.getsockname()[1] not in (0, port)
    with open_towards(LOCAL, port) as again:
        assert again.getsockname() == ("127.0.0.1", port)
    with pytest.raises(OSError, match="Errno"):
        open_towards((socket.AF_INET, "255.255.255.255", 9))
