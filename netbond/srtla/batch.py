"""Many datagrams per wake-up: reading and writing of non-blocking UDP sockets.

Plain calls in a loop. The interface is that of recvmmsg and sendmmsg (a list in, how many went out), so that
those can come in underneath. An error on a socket is a fact for the caller to judge, never raised.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from netbond.srtla.wire import MTU

PER_WAKE_UP = 64  # datagrams: enough for a burst, and other sockets get their turn
SIZE = MTU + 1  # longer ones are cut, and are then no packet of ours


def receive(sock: socket.socket, limit: int = PER_WAKE_UP) -> tuple[list[bytes], OSError | None]:
    """The datagrams that wait on a connected socket, and the error that ended the reading, if one did.

    A pending ICMP error (ECONNREFUSED and its like) is reported by the kernel once and takes no datagram
    away: reading goes on behind it.
    """
    out: list[bytes] = []
    error: OSError | None = None
    recv = sock.recv
    for _ in range(limit):
        try:
            data = recv(SIZE)
        except BlockingIOError:
            break
        except OSError as caught:
            error = caught
            continue
        if len(data) < SIZE:
            out.append(data)
    return out, error


def receive_from(sock: socket.socket, limit: int = PER_WAKE_UP) -> list[tuple[bytes, Any]]:
    """(datagram, address) of those that wait on an unconnected socket."""
    out: list[tuple[bytes, Any]] = []
    recvfrom = sock.recvfrom
    for _ in range(limit):
        try:
            entry = recvfrom(SIZE)
        except BlockingIOError:
            break
        except OSError:
            continue  # the ICMP answer to something sent earlier, by whatever peer
        if len(entry[0]) < SIZE:
            out.append(entry)
    return out


def send(sock: socket.socket, datagrams: Sequence[bytes]) -> tuple[int, OSError | None]:
    """Send over a connected socket; how many went out before the error, if there was one."""
    write = sock.send
    for count, data in enumerate(datagrams):
        try:
            write(data)
        except ConnectionRefusedError:
            # The ICMP answer to an earlier datagram, reported once; this one was not sent yet.
            try:
                write(data)
            except OSError as again:
                return count, again
        except OSError as error:
            return count, error
    return len(datagrams), None


def send_to(sock: socket.socket, datagrams: Sequence[tuple[Any, bytes]]) -> int:
    """Send (address, datagram) pairs; how many the kernel did not take. None holds up the others."""
    refused = 0
    sendto = sock.sendto
    for address, data in datagrams:
        try:
            sendto(data, address)
        except OSError:
            refused += 1
    return refused
