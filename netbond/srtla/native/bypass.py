"""Keeps the compiled data path in step with the receiver's groups and links.

receiver.py decides; the compiled data path (fastpath.py) forwards the packets of links that are up.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from netbond.srtla.native import fastpath
from netbond.srtla.process.batch import Local
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import FLUSH_AFTER_S, Receiver


class Bypass:
    """The links of one receiver in its compiled data path."""

    def __init__(self, listener: int, epoll: int, receiver: Receiver) -> None:
        self.fast = fastpath.open_path(listener, epoll, FLUSH_AFTER_S)
        self._receiver = receiver
        self._groups: dict[int, int] = {}  # number of a group -> its number there
        self._links: dict[
            PeerAddress, tuple[int, bytes, int]
        ] = {}  # number there, record, number of its group
        self._addresses: dict[int, PeerAddress] = {}  # by the number there

    def settle(self) -> None:
        """Account for what it has carried."""
        for link, packets, size, last_heard in self.fast.heard():
            address = self._addresses.get(link)
            if address is not None:
                self._receiver.heard(address, packets, size, last_heard)

    def take(
        self,
        address: PeerAddress,
        record: bytes,
        local: Local | None,
        sockets: Mapping[int, socket.socket],
        now: float,
    ) -> None:
        """Packets with this record came to Python: if they are a link's, they need not any more."""
        number = self._receiver.group_of(address)
        if number is None:
            return
        known = self._links.get(address)
        if known is not None:
            if known[1:] == (record, number):
                return
            self.link_gone(address)  # it writes to another address of ours now, or is in another group
        sock = sockets.get(number)
        if sock is None:
            return
        if number not in self._groups:
            group = self._groups[number] = self.fast.add_group(sock.fileno())
            if group >= 0:
                self.fast.tally(group, self._receiver.tally_of(number))
        group = self._groups[number]
        if group < 0:
            return
        credit = self._receiver.credit_of(address) // 2
        name, control = fastpath.name_and_control(record, local)
        link = self.fast.add_link(group, record, len(name), control, credit, now)
        if link >= 0:
            self._receiver.spend(address, credit)
            self._links[address] = (link, record, number)
            self._addresses[link] = address

    def link_gone(self, address: PeerAddress) -> None:
        """The link is no more; `settle` came before."""
        known = self._links.pop(address, None)
        if known is not None:
            self.fast.drop_link(known[0])
            del self._addresses[known[0]]

    def group_gone(self, number: int) -> None:
        """The group is no more, with its links."""
        for address in [each for each, (_, _, group) in self._links.items() if group == number]:
            self.link_gone(address)
        group = self._groups.pop(number, -1)
        if group >= 0:
            self.fast.drop_group(group)
