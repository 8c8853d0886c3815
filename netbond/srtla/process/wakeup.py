"""What a wake-up of an engine reads, and for how many packets the next one waits.

The loop in Python (loop.py), the sender's packet path (carriage.py) and the compiled data path
(native/fastpath.py) share these. While packets flow, wake-ups are coalesced, as network cards coalesce
interrupts.
"""

from __future__ import annotations

from typing import Final

PAUSE_S: Final = 0.0045  # between wake-ups while packets flow
CALM_S: Final = 1.2 * PAUSE_S  # the same if packets may wait so long, ...
ENOUGH_PACKETS: Final = 8.0  # for which a wake-up waits longer than PAUSE_S, if it may
WORTH_PACKETS: Final = 2  # that must be expected within a pause, or there is none

LISTENER: Final = -1  # in the place of a descriptor: the datagram came to the listening socket

# What was read: the descriptor of a connected socket, or LISTENER; for LISTENER the peer as the kernel
# writes it (address and ancillary data); the datagram; in its place the socket's errno, else 0.
Report = tuple[int, bytes, bytes, int]
