"""Hears the kernel's events: changes of links, addresses, routes, rules, forwarding and neighbours.

An event is only a reason to look. The kernel empties tables without an event, and drops events that come
faster than they are read. So only their type is read: whether links or addresses have changed. pyroute2 opens
and keeps the socket. Its decoder is not used: it takes five times as long as all else that happens to a
message.

In a LAN, neighbours come and go by the hundred, and change no routing. Only the neighbours that were reached,
or not reached, are told: for a gateway that is a reason to check it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pyroute2 import AsyncIPRoute, NetlinkError
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_IPV6_RULE,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
)

from netbond.kernel import rtnetlink
from netbond.model import IPAddress

# Device, address, and whether it was reached (True) or has not answered the kernel (False).
Neighbour = Callable[[str, IPAddress, bool], None]

logger = logging.getLogger(__name__)

# pyroute2 has no names for these: RTNLGRP_NEXTHOP is group 32, RTNLGRP_IPV4_NETCONF 24, and IPv6's 25.
RTMGRP_NEXTHOP = 1 << 31
RTMGRP_NETCONF = 1 << 23 | 1 << 24  # forwarding is switched on or off
GROUPS = (
    RTMGRP_LINK
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV4_RULE
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV6_ROUTE
    | RTMGRP_IPV6_RULE
    | RTMGRP_NEIGH
    | RTMGRP_NEXTHOP
    | RTMGRP_NETCONF
)
MOVES = frozenset({RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR})
NEIGHBOURS = frozenset({RTM_NEWNEIGH, RTM_DELNEIGH})
RECEIVE_BUFFER_BYTES = 4 << 20  # an overrun costs a full look, which comes anyway
REOPEN_AFTER_S = 1.0  # until a broken socket is opened again


class Headers:
    """What AsyncIPRoute.get() takes for a decoder: of each message its header, and the error if it is one."""

    def parse(self, data: bytes, *_whose: object) -> Iterator[dict[str, Any]]:
        """The messages of one datagram."""
        for kind, flags, _, payload in rtnetlink.messages(data):
            error = None
            if kind == rtnetlink.NLMSG_ERROR:
                # Nothing is requested on this socket: this is how pyroute2 reports an error of the socket.
                number = abs(int.from_bytes(payload[:4], sys.byteorder, signed=True))
                error = OSError(number, os.strerror(number))
            yield {"header": {"type": kind, "flags": flags, "error": error}, "payload": payload}

    def is_enough(self, _message: object) -> bool:
        """Never: events have no end."""
        return False


def _neighbour(payload: bytes, tell: Neighbour) -> None:
    found = rtnetlink.neighbour(payload)
    if found is None:
        return
    index, address, state = found
    if state in (rtnetlink.NUD_REACHABLE, rtnetlink.NUD_FAILED):
        with contextlib.suppress(OSError):  # the device is gone already
            tell(socket.if_indextoname(index), address, state == rtnetlink.NUD_REACHABLE)


async def watch(look: Callable[[bool], None], neighbour: Neighbour, ready: asyncio.Event) -> None:
    """Call `look` for each event, until cancelled; with True if links or addresses may have changed. Of
    neighbours call `neighbour` instead.

    `ready` is set once no event can be missed any more.
    """
    while True:
        try:
            async with AsyncIPRoute(rcvbuf=RECEIVE_BUFFER_BYTES) as netlink:
                netlink.set_marshal(Headers())
                await netlink.bind(groups=GROUPS)
                ready.set()
                look(True)  # what happened before the socket was open
                while True:
                    try:
                        async for message in netlink.get():
                            kind = message["header"]["type"]
                            if kind not in NEIGHBOURS:
                                look(kind in MOVES)
                            elif kind == RTM_NEWNEIGH:
                                _neighbour(message["payload"], neighbour)
                    except OSError as error:
                        if error.errno != errno.ENOBUFS:
                            raise
                        # The socket stays usable; what was lost is found by looking.
                        logger.info("netlink events were lost; reading everything again")
                        look(True)
        # pyroute2's words for a socket that broke, and for one that it could not bind.
        except (OSError, NetlinkError, KeyError) as error:
            logger.warning("netlink events: %s; opening the socket again", error)
        await asyncio.sleep(REOPEN_AFTER_S)
