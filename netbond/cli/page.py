"""Runs `netbond page`, the web page: the agent starts it with --control-fd; by hand it only shows."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from netbond.cli import agent_socket
from netbond.config.crosscheck import page_mistake
from netbond.config.load import config_argument
from netbond.config.schema import PageConfig
from netbond.config.values import InvalidValueError
from netbond.errors import EXIT_OK, UsageError
from netbond.page.access import Access
from netbond.page.channel import Channel
from netbond.page.feed import at
from netbond.page.server import Server, listen
from netbond.srtla.process import privileges, seccomp
from netbond.srtla.registration import psk
from netbond.system import journal

logger = logging.getLogger(__name__)

HELP = "Show in a browser what the agent does. The agent runs it where [page] is enabled (docs/page.md)."

WORDS = {
    "listen": ("ADDRESS:PORT", "where browsers connect (127.0.0.1:10470)"),
    "hosts": ("NAME", "a name by which browsers reach it; may be repeated"),
    "token_file": ("FILE", "a file with the token that it asks for"),
    "certificate": ("FILE", "the certificate for TLS (PEM)"),
    "certificate_key": ("FILE", "its private key (PEM), if that is another file"),
    "user": ("NAME", "become this user when the port is open"),
    "control": ("", "who has the token may set uplinks; with --control-fd only"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="the agent's control socket (default: as configured)"
    )
    for key in fields(PageConfig):
        if key.name in WORDS:
            metavar, words = WORDS[key.name]
            if isinstance(key.default, bool):
                parser.add_argument(option(key), dest=key.name, action="store_true", help=words)
                continue
            action = "append" if isinstance(key.default, tuple) else "store"
            parser.add_argument(option(key), dest=key.name, metavar=metavar, action=action, help=words)
    parser.add_argument("--control-fd", type=int, metavar="N", help="the channel with the agent")


def option(key: Field[Any]) -> str:
    """Return the option of this key: "--token-file" for "token_file"."""
    return f"--{key.name.replace('_', '-')}"


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM, Ctrl-C or the end of the agent."""
    page = page_config(args)
    path = agent_socket.find(args.config, args.socket).path
    # All that needs root comes first: secrets, and a low port.
    token = None if page.token_file is None else psk.read(page.token_file, "--token-file")
    access = Access(frozenset(name.lower() for name in page.hosts), token, page.certificate is not None)
    tls = tls_of(page)
    listener = listen(page.listen)
    set_up_logging(for_agent=args.control_fd is not None)
    if args.user is None:
        privileges.shed()
    else:
        privileges.drop(args.user)
    if why_not := seccomp.install(signals=False):
        logger.info("running without a seccomp filter: %s", why_not)
    if args.control_fd is None:
        print(f"http{'s' if tls else ''}://{page.listen}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # how one ends it
        asyncio.run(_serve(access, tls, listener, path, args.control_fd, control=page.control))
    return EXIT_OK


def set_up_logging(*, for_agent: bool) -> None:
    """One line per event on standard error; the agent's log has its own time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(journal.Formatter() if for_agent else logging.Formatter("%(asctime)s %(message)s"))
    root = logging.getLogger("netbond")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def page_config(args: argparse.Namespace) -> PageConfig:
    """Return the options as the table [page]; UsageError names what is wrong."""
    values: dict[str, Any] = {"enabled": True}
    for key in fields(PageConfig):
        said = getattr(args, key.name, None)
        if said is None:
            continue
        if isinstance(key.default, Path) or key.default is None:
            values[key.name] = Path(said)  # on the command line, a path may be relative
            continue
        try:
            values[key.name] = key.metadata["kind"](said)
        except InvalidValueError as error:
            raise UsageError(f"{option(key)} {said!r} is not valid", f"expected {error}") from None
    page = PageConfig(**values)
    if mistake := page_mistake(page):
        raise UsageError(*mistake)
    return page


def tls_of(page: PageConfig) -> ssl.SSLContext | None:
    """Return what TLS needs, None without a certificate; UsageError if it cannot be used."""
    if page.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(page.certificate, page.certificate_key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"--certificate {page.certificate}: {why}",
            "name a certificate and its key, as PEM, without a password",
        ) from None
    return context


async def _serve(
    access: Access,
    tls: ssl.SSLContext | None,
    listener: socket.socket,
    path: Path,
    control_fd: int | None,
    *,
    control: bool,
) -> None:
    channel = None if control_fd is None else Channel(control_fd)
    ended = asyncio.Event() if channel is None else channel.ended
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    connect = at(path) if channel is None else channel.connect
    of_agent = channel is not None
    server = Server(access, connect, tls, of_agent=of_agent, control=of_agent and control)
    serving = asyncio.create_task(server.run(listener))
    if channel is not None:
        channel.ready()
    serving.add_done_callback(lambda _: ended.set())
    await ended.wait()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    if channel is not None:
        channel.close()
