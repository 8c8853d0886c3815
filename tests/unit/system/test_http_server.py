"""A small HTTP server, over real connections."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.system import http_server
from netbond.system.http_server import HttpServer, send_json


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/mistake":
            raise ValueError("a mistake")
        send_json(self, b"[1]")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - a name of http.server
        pass


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[HttpServer]:
    server = HttpServer(HostPort(host, 0), Handler, "a list")
    server.start("")
    try:
        yield server
    finally:
        server.stop()


def get(server: HttpServer, host: str = "127.0.0.1", path: str = "/") -> str:
    with urllib.request.urlopen(f"http://{host}:{server.port}{path}", timeout=5) as reply:
        return f"{reply.headers['Content-Type']} {reply.headers['Cache-Control']} {reply.read().decode()}"


def test_json_is_served() -> None:
    with serving() as server:
        assert get(server) == "application/json no-store [1]"


@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6(host: str) -> None:
    with serving(host) as server:
        assert "[1]" in get(server, "[::1]")


def test_an_address_of_another_box_is_named() -> None:
    with pytest.raises(
        UnavailableError, match=r"^cannot serve a list at \[2001:db8::1\]:10469: Cannot .*; do so$"
    ):
        HttpServer(HostPort("2001:db8::1", 10469), Handler, "a list").start("do so")


def test_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> str:
        raise AssertionError("this waits for DNS, over uplinks that may be down")

    monkeypatch.setattr(socket, "getfqdn", never)
    with serving() as server:
        get(server)


def test_stop_frees_the_port_and_ends_the_thread() -> None:
    with serving() as server:
        port = server.port
        get(server)
    assert not [thread for thread in threading.enumerate() if thread.name == "a list"]
    again = HttpServer(HostPort("127.0.0.1", port), Handler, "a list")
    again.start("")
    again.stop()
    again.stop()


def test_a_mistake_is_logged_and_ends_one_request_only(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server, caplog.at_level(logging.ERROR):
        with pytest.raises(OSError, match="closed"):
            get(server, path="/mistake")
        assert "[1]" in get(server)
    assert [record.getMessage()[:12] for record in caplog.records] == ["a request by"]


def test_clients_that_say_nothing_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE_S", 1.0)
    with serving() as server:
        silent = [
            socket.create_connection(("127.0.0.1", server.port)) for _ in range(http_server.MAX_REQUESTS - 1)
        ]
        assert "[1]" in get(server)
        refused = False
        for _ in range(20):
            # The last place may still be that of the request before.
            silent.append(socket.create_connection(("127.0.0.1", server.port)))
            try:
                get(server)
            except (urllib.error.URLError, ConnectionError):
                refused = True
                break
        assert refused, "there is a limit"
        for one in silent:
            one.settimeout(5)
            assert one.recv(1) == b"", "dropped after a while"
            one.close()
        assert "[1]" in get(server)


def test_slow_clients_make_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred that say a byte now and then, each within the time that a client has for it."""
    monkeypatch.setattr(http_server, "SLOW_S", 0.2)
    before = threading.active_count()
    with serving() as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
        for _ in range(3):
            for each in slow:
                with contextlib.suppress(OSError):  # it had to go
                    each.send(b"G")
            time.sleep(0.1)
        for _ in range(http_server.MAX_REQUESTS):
            assert "[1]" in get(server)
            assert threading.active_count() <= before + 2 * http_server.MAX_REQUESTS + 1
        for each in slow:
            each.close()


@pytest.mark.parametrize("left", ["none", "fewer than there are"])
def test_without_descriptors_the_thread_waits_and_goes_on_later(left: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving() as server, socket.socket() as client:
        lowest = os.dup(client.fileno())  # all below it are in use
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest if left == "none" else 0, hard))
        try:
            client.connect(("127.0.0.1", server.port))
            began = time.process_time()
            time.sleep(0.6)
            used = time.process_time() - began
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert used < 0.1, "seconds of a processor"
        assert "[1]" in get(server)
