"""Serves HTTP from a thread; slow clients, many of them, and a shortage of descriptors cannot make it grow.

For what is read by programs of the same network: metrics, lists of targets.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from netbond.config.values import HostPort
from netbond.errors import UnavailableError

logger = logging.getLogger(__name__)

MAX_REQUESTS = 8  # at the same time; each takes a thread
PATIENCE_S = 5.0  # for a client to say or take something
SLOW_S = 1.0  # of a request: then it makes way for the next, if all threads are taken

# No descriptors, or no memory: until the next try.
SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SHORTAGE_S = 0.5


class HttpServer:
    """Answers requests at HOST:PORT by `handler` from a thread called `name`, until `stop()`."""

    def __init__(self, at: HostPort, handler: type[BaseHTTPRequestHandler], name: str) -> None:
        self._at, self._handler, self._name = at, handler, name
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The port in use, once started; the same as given unless that was 0."""
        return self._server.server_port if self._server else self._at.port

    def start(self, hint: str) -> None:
        """Listen; UnavailableError with `hint` if the port is taken or the address is not one of this box."""
        try:
            self._server = _Server(self._at, self._handler)
        except OSError as error:
            raise UnavailableError(
                f"cannot serve {self._name} at {self._at}: {error.strerror or error}", hint
            ) from None
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._serve, args=(self._server,), name=self._name, daemon=True
        )
        self._thread.start()

    def _serve(self, server: _Server) -> None:
        # Not serve_forever(): that wakes up twice a second to see whether it should end.
        while not self._stopping.is_set():
            try:
                server.handle_request()
            except OSError:  # poll(2), if there may be fewer descriptors than there are
                self._stopping.wait(SHORTAGE_S)

    def stop(self) -> None:
        """Stop listening. May be called without start()."""
        if self._server is None or self._thread is None:
            return
        self._stopping.set()
        self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread up
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None


def send_json(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Answer a GET with JSON that nobody keeps.

    Without Access-Control-Allow-Origin: scripts need none, and the pages that somebody visits on this box
    have no business here.
    """
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Cache-Control", "no-store")
    handler.end_headers()
    handler.wfile.write(body)


class _Server(ThreadingHTTPServer):
    """An HTTP server that slow or many clients cannot make grow."""

    daemon_threads = True
    request_queue_size = 64  # of 5, the default, a burst of connections overflows and waits a second

    def __init__(self, at: HostPort, handler: type[BaseHTTPRequestHandler]) -> None:
        [family, *_, address] = socket.getaddrinfo(
            at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0]
        self.address_family = family
        self._lock = threading.Lock()
        self._requests: dict[socket.socket, float] = {}  # since when, the oldest first
        self._busy = 0  # those of requests that had to make way included
        patient = type(handler.__name__, (handler,), {"timeout": PATIENCE_S})
        super().__init__(address, patient)  # type: ignore[arg-type]  # getaddrinfo's type is wider than bind's

    def server_bind(self) -> None:
        """Bind, without HTTPServer's look-up of the host's name: there may be no uplink to ask over."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # AF_INET and AF_INET6 only

    def get_request(self) -> tuple[Any, Any]:
        """Accept one. Without descriptors the next try would come at once, and keep the processor busy."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in SHORTAGE:
                time.sleep(SHORTAGE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._enter(request, time.monotonic()):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be started
            self._leave(request)
            raise

    def _leave(self, request: socket.socket) -> None:
        with self._lock:
            self._requests.pop(request, None)
            self._busy -= 1

    def _enter(self, request: socket.socket, now: float) -> bool:
        """Whether there is a thread for it; a client that is slow would keep its own for ever."""
        with self._lock:
            if len(self._requests) >= MAX_REQUESTS:
                oldest, since = next(iter(self._requests.items()))
                # As many again may be on their way out.
                if now - since < SLOW_S or self._busy >= 2 * MAX_REQUESTS:
                    return False
                del self._requests[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end
            self._requests[request] = now
            self._busy += 1
            return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; a mistake of ours is."""
        error = sys.exception()
        if not isinstance(error, OSError):
            logger.error("a request by %s failed", client_address, exc_info=error)
