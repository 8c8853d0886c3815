"""Start and memory of small web servers, each in a process of its own: why the page has no framework.

usage: pip install aiohttp starlette uvicorn; python bench/web_frameworks.py    (any virtual environment)
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HOST = "127.0.0.1"
RUNS = 5
SERVERS = {
    "asyncio and ssl of the standard library": """
import asyncio, json, ssl
async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), {host!r}, {port})
    await server.serve_forever()
asyncio.run(main())
""",
    "http.server of the standard library": """
import json, ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
ThreadingHTTPServer(({host!r}, {port}), BaseHTTPRequestHandler).serve_forever()
""",
    "aiohttp": """
from aiohttp import web
web.run_app(web.Application(), host={host!r}, port={port}, print=None)
""",
    "starlette and uvicorn": """
import uvicorn
from starlette.applications import Starlette
uvicorn.run(Starlette(), host={host!r}, port={port}, log_level="error")
""",
}


def measure(code: str) -> tuple[float, float]:
    """Return the seconds until it listens, and its memory (RSS) in MB."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port = found.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code.format(host=HOST, port=port)])
    try:
        while process.poll() is None:
            try:
                socket.create_connection((HOST, port)).close()
                break
            except OSError:
                time.sleep(0.005)
        took_s = time.perf_counter() - began
        time.sleep(0.2)
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return took_s, pages * 4096 / 1e6
    finally:
        process.kill()
        process.wait()


for name, code in SERVERS.items():
    runs = [measure(code) for _ in range(RUNS)]
    took, memory = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"{name:<40} listens after {took:.2f} s, {memory:.0f} MB")
