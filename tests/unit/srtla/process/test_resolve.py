"""Host names of receivers and SRT servers, resolved beside the packets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from netbond.config.values import HostPort
from netbond.srtla.process.linksocket import Endpoint
from netbond.srtla.process.resolve import Resolver


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_known_before_the_first_packet_is_read(host: str, family: int) -> None:
    """Packets that came before would be lost; a name has to be waited for."""

    found: list[list[Endpoint]] = []
    Resolver(HostPort(host, 5), found.append).start()
    await asyncio.sleep(0)
    assert found == [[(family, host, 5)]]
