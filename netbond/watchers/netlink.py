"""The kernel's own news: links, addresses, routes and rules.

A message is only a reason to look. The kernel empties tables without one, and drops messages when they come
faster than they are read, so nothing is learnt from their content; only whether links or addresses moved.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable

from pyroute2 import AsyncIPRoute, NetlinkError
from pyroute2.netlink.exceptions import NetlinkDecodeError
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_IPV6_RULE,
    RTMGRP_LINK,
)

logger = logging.getLogger(__name__)

RTMGRP_NEXTHOP = 1 << 31  # group 32, RTNLGRP_NEXTHOP; pyroute2 has no name for it
GROUPS = (
    RTMGRP_LINK
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV4_RULE
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV6_ROUTE
    | RTMGRP_IPV6_RULE
    | RTMGRP_NEXTHOP
)
MOVES = frozenset({RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR})
RECEIVE_BUFFER = 4 << 20  # bytes; a storm of events that overruns it costs a full look, which comes anyway
PAUSE = 1.0  # seconds before a broken socket is opened again


async def watch(look: Callable[[bool], None], ready: asyncio.Event) -> None:
    """Call `look` for each event, until cancelled; with True if links or addresses may have changed.

    `ready` is set once no event can be missed any more.
    """
    while True:
        try:
            async with AsyncIPRoute(rcvbuf=RECEIVE_BUFFER) as netlink:
                await netlink.bind(groups=GROUPS)
                ready.set()
                look(True)  # what happened before the socket was open
                while True:
                    try:
                        async for message in netlink.get():
                            look(message["header"]["type"] in MOVES)
                    except NetlinkDecodeError:
                        look(True)  # a message that pyroute2 cannot read is news like any other
                    except OSError as error:
                        if error.errno != errno.ENOBUFS:
                            raise
                        # The socket stays usable; what was lost is found by looking.
                        logger.info("netlink events were lost; reading everything again")
                        look(True)
        except (OSError, NetlinkError) as error:  # the latter is pyroute2's word for a socket that broke
            logger.warning("netlink events: %s; opening the socket again", error)
        await asyncio.sleep(PAUSE)
