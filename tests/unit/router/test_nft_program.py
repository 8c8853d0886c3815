"""What is given to `nft` and made of what it says; a script that keeps the table is in its place."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from netbond.config.schema import RouterConfig
from netbond.errors import KernelLacksError, NetbondError, NotPermittedError
from netbond.lan import Lan, Mark
from netbond.model import Rule
from netbond.router import nft
from netbond.router.nft import NftError, Router, Table
from netbond.router.ruleset import REMOVAL, ruleset
from tests.unit.router.test_nft import CONFIG, LAN, USB0
from tests.unit.router_uplinks import WWAN0

# Takes what it is fed for the table, counts its changes, and lists the table as the real one would: reworded.
SCRIPT = """\
#!/bin/sh
echo "$*" >> calls
case $1 in
-f)
    cat > fed
    if grep -q 'add rule\\|chain' fed; then mv fed table; else rm -f table fed; fi
    echo >> generation
    ;;
--stateless)
    [ -e table ] || { echo 'Error: No such file or directory' >&2; exit 1; }
    echo "as the kernel has it: $(cksum < table)"
    ;;
esac
"""


class Program:
    """The script, and what it has been asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "nft"
        self.script(SCRIPT)

    def script(self, text: str) -> None:
        head, _, rest = text.partition("\n")
        self.path.write_text(f"{head}\ncd {self.folder}\n{rest}")
        self.path.chmod(0o755)

    @property
    def table(self) -> str:
        """The text that the kernel's table was made from; "" if there is none."""
        path = self.folder / "table"
        return path.read_text() if path.exists() else ""

    def changed_by_another(self, text: str) -> None:
        (self.folder / "table").write_text(text)
        path = self.folder / "generation"
        path.write_text(path.read_text() + "\n")

    def generation(self) -> int:
        path = self.folder / "generation"
        return path.stat().st_size if path.exists() else 0

    def calls(self) -> list[str]:
        """The first words of each call since the last time."""
        path = self.folder / "calls"
        found = [line.partition(" ")[0] for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return found


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    (tmp_path / "bin").mkdir()
    found = Program(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(found.folder))
    monkeypatch.setattr(nft, "generation", found.generation)
    monkeypatch.setattr(nft, "release", lambda marks, mask: list(marks))
    return found


TEXT = ruleset([USB0], LAN.devices, CONFIG)


async def test_a_table_is_made_once_and_found_by_a_successor(program: Program, tmp_path: Path) -> None:
    table = Table(tmp_path / "state")
    assert await table.apply(TEXT)
    assert program.table == TEXT
    program.calls()
    assert not await table.apply(TEXT)
    assert program.calls() == []  # nobody has changed anything: nft is not even asked
    successor = Table(tmp_path / "state")
    assert await successor.applied() == TEXT
    assert program.calls() == ["--stateless"]
    assert not await successor.apply(TEXT)
    assert program.calls() == []


async def test_what_another_program_changes_is_noticed_and_made_right(
    program: Program, tmp_path: Path
) -> None:
    table = Table(tmp_path)
    await table.apply(TEXT)
    program.changed_by_another("chain of others\n")
    assert await table.applied() == ""
    assert await table.apply(TEXT)
    assert program.table == TEXT


async def test_changes_of_other_tables_cost_a_listing_and_no_more(program: Program, tmp_path: Path) -> None:
    table = Table(tmp_path)
    await table.apply(TEXT)
    program.calls()
    program.changed_by_another(TEXT)
    assert not await table.apply(TEXT)
    assert program.calls() == ["--stateless"]


async def test_a_record_without_its_table_counts_for_nothing(program: Program, tmp_path: Path) -> None:
    await Table(tmp_path).apply(TEXT)
    (program.folder / "table").unlink()  # a reboot
    assert await Table(tmp_path).applied() == ""
    (tmp_path / "nft.json").write_text("{")
    assert await Table(tmp_path).applied() == ""


async def test_the_table_and_its_record_are_taken_away(program: Program, tmp_path: Path) -> None:
    table = Table(tmp_path)
    await table.apply(TEXT)
    assert await table.remove()
    assert (program.table, (tmp_path / "nft.json").exists()) == ("", False)
    assert not await table.remove()


async def test_pending_says_what_sync_would_do(program: Program, tmp_path: Path) -> None:
    router = Router(tmp_path)
    text = await router.pending([USB0], LAN, CONFIG)
    assert text.startswith("# ")
    assert text.partition("\n")[2].strip() == TEXT.strip()
    assert program.table == ""
    assert await router.sync([USB0], LAN, CONFIG) == []
    assert program.table == TEXT
    assert await router.pending([USB0], LAN, CONFIG) == ""
    off = await router.pending([USB0], Lan(), RouterConfig())
    assert off.partition("\n")[2].strip() == REMOVAL.strip()
    assert await router.sync([USB0], Lan(), RouterConfig()) == []
    assert program.table == ""


async def test_without_router_mode_nothing_is_asked(program: Program, tmp_path: Path) -> None:
    router = Router(tmp_path)
    assert await router.pending([USB0], Lan(), RouterConfig()) == ""
    assert await router.sync([USB0], Lan(), RouterConfig()) == []
    await router.remove()
    assert program.calls() == []


async def test_flows_are_held_without_router_mode(program: Program, tmp_path: Path) -> None:
    inside = Lan(held=frozenset({4}))
    router = Router(tmp_path)
    assert (await router.pending([USB0, WWAN0], inside, RouterConfig())).startswith("# forwarded flows")
    assert await router.sync([USB0, WWAN0], inside, RouterConfig()) == []
    assert program.table == ruleset([USB0, WWAN0], [], RouterConfig(), held={4})


async def test_what_is_held_no_more_is_released_if_its_uplink_is_gone(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[Mark] = []
    monkeypatch.setattr(nft, "release", lambda marks, _mask: released.extend(marks))
    router = Router(tmp_path)
    await router.sync([USB0, WWAN0], Lan(held=frozenset({4})), RouterConfig())
    assert released == []
    await router.sync([USB0], Lan(), RouterConfig())
    assert released == [Mark(0xC9000000, 4)]  # those of usb0 go on
    assert program.table == ""


async def test_connections_begin_anew_when_a_vpn_takes_all_traffic(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[Mark] = []
    monkeypatch.setattr(nft, "release", lambda marks, _mask: released.extend(marks))
    old, new = Rule(38, 4, table=1), Rule(39, 4, table=51820)
    router = Router(tmp_path)
    for takers, count in (({old}, 0), ({old}, 0), ({old, new}, 2), ({old, new}, 0), ({old}, 0)):
        released.clear()
        inside = Lan(held=frozenset({4}), takers=frozenset(takers))
        await router.sync([USB0, WWAN0], inside, RouterConfig())
        assert len(released) == count
    assert program.table


# --- a program that fails ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (
            "#!/bin/sh\necho '/dev/stdin:1:1-3: Error: syntax' >&2; echo more >&2; exit 1\n",
            NftError,
            "nft refused netbond's table: /dev/stdin:1:1-3: Error: syntax; nft 0.9.8 and",
        ),
        ("#!/bin/sh\nexit 3\n", NftError, "nft refused netbond's table: exit status 3; nft 0.9.8"),
        (
            "#!/bin/sh\necho 'Error: Operation not permitted' >&2; exit 1\n",
            NotPermittedError,
            "nft may not change the ruleset; run netbond as root",
        ),
        (
            "#!/nonexistent/interpreter\n",
            NftError,
            "nft cannot be started: No such file or directory; trying again",
        ),
        ("#!/bin/sh\nexec sleep 60\n", NftError, "nft did not finish in 0 s; look what keeps it"),
    ],
)
async def test_it_is_one_line(
    script: str, kind: type[NetbondError], says: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.script(script)
    monkeypatch.setenv("PATH", f"{program.folder}")
    monkeypatch.setattr(nft, "_TIMEOUT_S", 0.2)
    with pytest.raises(kind) as caught:
        await nft.feed(TEXT)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


async def test_a_table_that_is_refused_is_not_recorded(program: Program, tmp_path: Path) -> None:
    table = Table(tmp_path)
    await table.apply(TEXT)
    program.script("#!/bin/sh\nexit 1\n")
    with pytest.raises(NftError):
        await table.apply(TEXT + "# more\n")
    program.script(SCRIPT)
    assert await table.applied() == TEXT
    assert await Table(tmp_path).applied() == TEXT


async def test_it_sees_neither_our_environment_nor_our_input(program: Program) -> None:
    program.script("#!/bin/sh\nenv > environment\ncat > input\n")
    await nft.feed("text\n")
    found = dict(line.split("=", 1) for line in (program.folder / "environment").read_text().splitlines())
    assert found.keys() <= {"PATH", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_"}
    assert found["LC_ALL"] == "C"
    assert (program.folder / "input").read_text() == "text\n"


# --- the number of changes ---------------------------------------------------------------------------------

HEAD = bytes(20)


def attribute(kind: int, value: bytes) -> bytes:
    raw = struct.pack("=HH", 4 + len(value), kind) + value
    return raw + bytes(-len(raw) % 4)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (HEAD + attribute(1, b"\0\0\1\2"), 258),
        (HEAD + attribute(3, b"nft\0\0") + attribute(1, b"\0\0\0\7"), 7),  # others are passed over
        (HEAD + attribute(1, b"\0\0") + attribute(1, b"\0\0\0\7"), 7),
        (HEAD, None),
        (HEAD + bytes(400), None),  # lengths of 0 do not hold it up
        (HEAD + b"\x08", None),
    ],
)
def test_generation(answer: bytes, number: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_ask", lambda _request: answer)
    if number is not None:
        assert nft.generation() == number
        return
    with pytest.raises(KernelLacksError, match="does not number its nftables changes"):
        nft.generation()


@pytest.mark.parametrize(
    ("code", "kind"), [(1, NotPermittedError), (13, NotPermittedError), (95, KernelLacksError), (105, None)]
)
def test_a_kernel_that_refuses(
    code: int, kind: type[NetbondError] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_request: bytes) -> bytes:
        raise OSError(code, "no")

    monkeypatch.setattr(nft, "_ask", refuse)
    with pytest.raises(kind or NetbondError) as caught:
        nft.generation()
    assert kind is not None or type(caught.value) is NetbondError
