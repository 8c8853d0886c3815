"""Applies the text of netbond's nftables table through `nft`, and deletes the connections of dead uplinks.

`nft` reads its text from standard input and replaces the whole table in one transaction, so no packet meets
half of it. The applied text is kept in `state_dir`, together with the kernel's listing of it. So `netbond
plan`, an agent after kill -9, and the detection of drift (`nft flush ruleset`) need not guess how a version
of nft prints what it was given.

Connections are deleted by a conntrack netlink message with a mark and a mask. The kernel takes these as a
filter since 4.0 (IPCTNL_MSG_CT_DELETE without a tuple), so no conntrack tool is needed. Sources:
include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack,nf_tables}.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from netbond.config.schema import RouterConfig
from netbond.errors import KernelLacksError, NetbondError, NotPermittedError, UnavailableError
from netbond.lan import Lan, Mark, lan_families, live_marks, marks_to_release
from netbond.model import Rule, Uplink
from netbond.router.ruleset import ANEW, FAMILY, REMOVAL, TABLE, pending, ruleset
from netbond.router.sticky import kept
from netbond.system import files
from netbond.system.state_file import StateFile, StateFileError

logger = logging.getLogger(__name__)

STORE = "nft.json"  # in state_dir
LARGEST_STORE_BYTES = 1 << 20  # 64 uplinks need about 30,000

_PATH = f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"  # a daemon's PATH may lack the sbin directories
_TIMEOUT_S = 10.0  # nft takes milliseconds

_NETLINK_NETFILTER = 12
_NLMSG_ERROR = 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_CT_DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_CTA_MARK, _CTA_MARK_MASK = 8, 21
_NFTA_GEN_ID = 1
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_NFTABLES_GROUP = 7  # NFNLGRP_NFTABLES


class NftError(NetbondError):
    """`nft` refused a text, or could not be run."""


# --- netlink ----------------------------------------------------------------------------------------------


def _attribute(kind: int, value: int) -> bytes:
    return struct.pack("=HH", 8, kind) + struct.pack("!I", value)


def _request(kind: int, flags: int, attributes: bytes, family: int = socket.AF_UNSPEC) -> bytes:
    # struct nfgenmsg. With a version other than 0, a deletion is for one family only (4.20 and later; before,
    # it was for all connections with that mark).
    body = struct.pack("=BBH", family, 0 if family == socket.AF_UNSPEC else 1, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, _NLM_F_REQUEST | flags, 1, 0) + body


def delete_request(mark: Mark, mask: int) -> bytes:
    """The message that deletes each connection of the family whose mark is `mark` in the bits of `mask`."""
    if not mask or not mark.value or mark.value & ~mask:
        # A filter that matches nothing, or everything (mask 0), is a bug.
        raise ValueError(f"mark {mark.value:#x} is not within the mask {mask:#x}")
    attributes = _attribute(_CTA_MARK, mark.value) + _attribute(_CTA_MARK_MASK, mask)
    return _request(_CT_DELETE, _NLM_F_ACK, attributes, _FAMILIES[mark.family])


def _ask(request: bytes) -> bytes:
    """Send one request to the kernel's netfilter; return its answer. OSError if that is an error."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as link:
        link.settimeout(_TIMEOUT_S)
        link.bind((0, 0))
        link.send(request)
        answer = link.recv(65536)
    if len(answer) >= 20 and struct.unpack_from("=H", answer, 4)[0] == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, 16)[0]
        if code:
            raise OSError(code, os.strerror(code))
    return answer


def release(marks: Iterable[Mark], mask: int) -> None:
    """Delete the connections with these marks from the kernel's table.

    Their next packets are routed and translated anew. Blocks while the kernel walks its table (docs/router.md
    has the times). NetbondError if the kernel refuses.
    """
    for mark in marks:
        try:
            _ask(delete_request(mark, mask))
        except OSError as error:
            raise _refused("delete connections by their mark", error) from None


def _refused(what: str, error: OSError) -> NetbondError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermittedError(f"the kernel refuses to {what}", "run netbond as root (CAP_NET_ADMIN)")
    if error.errno in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL):
        return KernelLacksError(
            f"this kernel cannot {what}",
            "marks of connections need CONFIG_NF_CT_NETLINK and CONFIG_NF_CONNTRACK_MARK",
        )
    return NetbondError(f"the kernel did not {what}: {files.why(error)}")


def generation() -> int:
    """A number that grows with each change of any nftables rule, whoever makes it. Takes 0.1 ms."""
    try:
        answer = _ask(_request(_GET_GENERATION, 0, b""))
    except OSError as error:
        raise _refused("say whether nftables rules changed", error) from None
    offset = 20  # struct nlmsghdr, struct nfgenmsg
    while offset + 4 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, offset)
        if kind == _NFTA_GEN_ID and length == 8:
            number: int = struct.unpack_from("!I", answer, offset + 4)[0]
            return number
        offset += max(4, (length + 3) & ~3)
    raise KernelLacksError("the kernel does not number its nftables changes", "use a kernel 3.18 or later")


@contextlib.contextmanager
def watch(changed: Callable[[], None]) -> Iterator[None]:
    """Call `changed` when anybody has changed nftables rules, netbond too; within a running event loop.

    An event is only a reason to look: its content is not read, and lost events do no harm. A kernel without
    such events is no error: whoever needs nftables gets the error of the next request.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        try:
            link = stack.enter_context(_subscribed())
        except OSError as error:
            logger.debug("no events of nftables: %s", files.why(error))
            yield
            return

        def drain() -> None:
            while True:
                try:
                    link.recv(65536)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:  # that is an overrun
                        loop.remove_reader(link)
                        break
            changed()

        loop.add_reader(link, drain)
        try:
            yield
        finally:
            loop.remove_reader(link)


def _subscribed() -> socket.socket:
    """A socket that receives changes of nftables; OSError if the kernel has no nftables."""
    flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    link = socket.socket(socket.AF_NETLINK, flags, _NETLINK_NETFILTER)
    try:
        link.bind((0, 0))
        link.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP)
    except OSError:
        link.close()
        raise
    return link


# --- the program ------------------------------------------------------------------------------------------


def installed() -> str | None:
    """The path of `nft`; None if it is not installed."""
    return shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_PATH}")


def program() -> str:
    """The path of `nft`; UnavailableError names the package to install."""
    found = installed()
    if found is None:
        raise UnavailableError(
            "router mode needs the program nft, which is not installed", "install the package nftables"
        )
    return found


async def _run(arguments: list[str], text: str = "") -> tuple[int, str, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            program(),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": _PATH, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NftError(f"nft cannot be started: {files.why(error)}", "trying again") from None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, err = await process.communicate(text.encode())
    except TimeoutError:
        raise NftError(
            f"nft did not finish in {_TIMEOUT_S:.0f} s", "look what keeps it: nft list ruleset"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")


async def feed(text: str) -> None:
    """Apply nft text as one transaction; NftError with nft's first line if it refuses."""
    status, _, complaint = await _run(["-f", "-"], text)
    if status:
        line = complaint.strip().partition("\n")[0] or f"exit status {status}"
        if "not permitted" in line:
            raise NotPermittedError("nft may not change the ruleset", "run netbond as root (CAP_NET_ADMIN)")
        raise NftError(
            f"nft refused netbond's table: {line}",
            "nft 0.9.8 and a kernel 5.10 with nf_tables, nft_masq, nft_ct are needed",
        )


async def listing() -> str:
    """The kernel's table as nft prints it, without counters and what sets hold; "" if there is no table."""
    status, out, _ = await _run(["--stateless", "--terse", "list", "table", FAMILY, TABLE])
    return "" if status else out


# --- what was applied -------------------------------------------------------------------------------------


class Table:
    """netbond's table in the kernel, and the record of it in `state_dir`."""

    def __init__(self, state_dir: Path) -> None:
        self._store = StateFile(state_dir / STORE, "nft", LARGEST_STORE_BYTES)
        self._text = ""  # from which the kernel's table was made
        self._listing = ""  # the kernel's listing of it
        self._present = False  # whether there is a table, ours or changed
        self._generation: int | None = None  # the generation of what is above
        self.problem = ""  # why the record could not be written, the last time

    async def applied(self) -> str:
        """The text from which the kernel's table was made; "" if there is no table, or it was changed.

        Costs one netlink message, and a run of `nft` if somebody has changed any nftables rule.
        """
        now = generation()
        if self._generation is None:
            self._text, self._listing = self._load()
        if now != self._generation:
            found = await listing()
            self._present = bool(found)
            if found != self._listing:
                self._text = self._listing = ""
            self._generation = now
        return self._text

    async def apply(self, text: str) -> bool:
        """Make the kernel's table as `text` says ("": no table); return whether anything was changed."""
        before = await self.applied()
        if before == text and self._present == bool(text):
            return False
        await feed(kept(before, text, ANEW) if text else REMOVAL)
        self._generation = generation()
        self._text, self._listing = text, await listing() if text else ""
        self._present = bool(text)
        self._save()
        return True

    async def remove(self) -> bool:
        """Remove the table; return whether there was one. No error if nft is not installed."""
        try:
            return await self.apply("")
        except UnavailableError:
            return False

    def _load(self) -> tuple[str, str]:
        try:
            found = self._store.read()
        except (OSError, StateFileError):
            return "", ""  # then the table is applied again
        text, listed = found.get("text"), found.get("listing")
        return (text, listed) if isinstance(text, str) and isinstance(listed, str) else ("", "")

    def _save(self) -> None:
        self.problem = ""
        try:
            if self._text:
                self._store.write({"text": self._text, "listing": self._listing})
            else:
                self._store.remove()
        except OSError as error:
            self.problem = (
                f"{self._store.path}: {files.why(error)};"
                " router mode works, but a restart applies its rules again"
            )


# --- all of it --------------------------------------------------------------------------------------------


class Router:
    """The table as the agent keeps it: `sync` in each pass, after the rules are in the kernel."""

    def __init__(self, state_dir: Path) -> None:
        self._table = Table(state_dir)
        self._was_on = (state_dir / STORE).exists()  # only then is there a table of a predecessor's
        self._live: frozenset[Mark] = frozenset()  # the live_marks() of the pass before
        self._mask = 0  # the bits in which those are
        self._takers: frozenset[Rule] | None = None  # of the pass before

    async def sync(self, uplinks: Iterable[Uplink], inside: Lan, router: RouterConfig) -> list[str]:
        """Make the table right, then delete the connections of uplinks that no longer keep them.

        `inside` are the LAN interfaces, and what else is held (netbond.lan). The answer is what is wrong, a
        line each; NetbondError if `nft` or the kernel refuses. Where there is no router mode and nothing to
        hold, nothing is touched, or even asked.
        """
        uplinks = tuple(uplinks)
        families = lan_families(router) | inside.held
        if not families:
            before = self._live
            await self.remove()
            if before:
                release(marks_to_release(before, uplinks, router, families), self._mask)
            return []
        await self._table.apply(_text(uplinks, inside, router))
        self._was_on = True
        mask = router.mark_mask
        if mask != self._mask:
            # Other bits since a reload: nothing holds connections with the old marks any more.
            if self._live:
                release(sorted(self._live), self._mask)
            self._live, self._mask = frozenset(), mask
        if self._takers is not None and (new := inside.takers - self._takers):
            # A full tunnel has come up. What would go on beside it must begin anew, and inside.
            taken = {rule.family for rule in new}
            release(sorted(mark for mark in self._live if mark.family in taken), mask)
        self._takers = inside.takers
        now = live_marks(uplinks, router, families)
        if now != self._live:
            release(marks_to_release(self._live, uplinks, router, families), mask)
            self._live = now
        return [*inside.problems, *([self._table.problem] if self._table.problem else [])]

    async def pending(self, uplinks: Iterable[Uplink], inside: Lan, router: RouterConfig) -> str:
        """What sync() would apply, as text for `nft -f -` with a comment that says why; "" if nothing."""
        if not lan_families(router) | inside.held and not self._was_on:
            return ""
        wanted = _text(tuple(uplinks), inside, router)
        return pending(await self._table.applied(), wanted, lan=bool(inside.devices))

    async def remove(self) -> None:
        """Take the table away, if there is one. Connections stay as they are; nothing holds them any more."""
        if self._was_on:
            await self._table.remove()
            self._was_on = False
            self._live = frozenset()


def _text(uplinks: Sequence[Uplink], inside: Lan, router: RouterConfig) -> str:
    return ruleset(
        uplinks,
        inside.devices,
        router,
        held=inside.held,
        others_marks=inside.others_marks,
        policies=inside.policies,
        pinned=inside.pinned,
    )
