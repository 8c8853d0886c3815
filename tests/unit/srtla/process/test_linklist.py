"""List files of links: what is a link, and what is named and left out."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla.linkspec import MAX_LINKS, LinkSpec
from netbond.srtla.process import linklist

LIST = """
# modems
10.0.0.10
10.0.1.10%usb1   # bound to the device

2001:db8::5%wlan0
10.0.0
10.0.0.10%
%usb0
10.0.2.10%a-name-that-is-too-long
0.0.0.0
10.0.3.10 usb3
"""


def test_a_list_file() -> None:
    links, complaints = linklist.parse(LIST, "/tmp/ips")
    assert links == [
        LinkSpec("10.0.0.10", "10.0.0.10"),
        LinkSpec("10.0.1.10%usb1", "10.0.1.10", "usb1"),
        LinkSpec("2001:db8::5%wlan0", "2001:db8::5", "wlan0"),
    ]
    assert [line.split(" is not ")[0] for line in complaints] == [
        "/tmp/ips:7: '10.0.0'",
        "/tmp/ips:8: '10.0.0.10%'",
        "/tmp/ips:9: '%usb0'",
        "/tmp/ips:10: '10.0.2.10%a-name-that-is-too-long'",
        "/tmp/ips:11: '0.0.0.0'",
        "/tmp/ips:12: '10.0.3.10 usb3'",
    ]


def test_a_byte_order_mark_is_no_link(tmp_path: Path) -> None:
    path = tmp_path / "ips"
    path.write_bytes(b"\xef\xbb\xbf10.0.0.10\r\n\xef\xbb\xbf10.0.1.10\r\n")
    links = [LinkSpec("10.0.0.10", "10.0.0.10"), LinkSpec("10.0.1.10", "10.0.1.10")]
    assert linklist.read(path) == (links, [])
    path.write_bytes(b"\xef\xbb\xbf")
    assert linklist.read(path) == ([], [])


def test_a_change_of_the_list_is_noticed_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "ips"
    path.write_text("10.0.0.10\n")
    watch = linklist.Watch(path)
    assert [watch.changed() for _ in range(3)] == [False] * 3
    path.write_text("")  # being written in place
    assert not watch.changed()
    path.write_text("10.0.0.10\n10.0.1.10\n")
    assert [watch.changed() for _ in range(2)] == [False, True]
    watch.read()
    assert not watch.changed()
    other = tmp_path / "new"
    other.write_text("10.0.0.10\n10.0.2.10\n")  # of the same length
    other.rename(path)
    assert [watch.changed() for _ in range(2)] == [False, True]
    watch.read()
    path.unlink()
    assert [watch.changed() for _ in range(3)] == [False] * 3
    path.write_text("10.0.0.10\n")
    assert [watch.changed() for _ in range(2)] == [False, True]
    watch.read()  # SIGHUP came
    assert not watch.changed()


def test_a_list_that_comes_later_is_a_change(tmp_path: Path) -> None:
    watch = linklist.Watch(tmp_path / "ips")
    assert not watch.changed()
    (tmp_path / "ips").write_text("10.0.0.10\n")
    assert [watch.changed() for _ in range(2)] == [False, True]


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    links, complaints = linklist.read(tmp_path / "none")
    assert links is None
    assert complaints == [f"{tmp_path}/none: No such file or directory"]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_list_breaks_the_reader(data: bytes) -> None:
    linklist.parse(data.decode("utf-8", "replace"), "f")


def test_words_in_a_list_file() -> None:
    links, complaints = linklist.parse(
        "10.0.0.10 priority=5\n10.0.1.10%usb1 idle metered priority=100  # x\n"
        "10.0.2.10 priority=101\n10.0.3.10 fast\n10.0.4.10 metered=no\n",
        "f",
    )
    assert links == [
        LinkSpec("10.0.0.10", "10.0.0.10", "", 5),
        LinkSpec("10.0.1.10%usb1", "10.0.1.10", "usb1", 100, enabled=False, metered=True),
    ]
    assert [line.partition(":")[2][:1] for line in complaints] == ["3", "4", "5"]


def test_more_links_than_fit_are_named_once() -> None:
    text = "".join(f"10.0.0.{number}\n" for number in range(1, MAX_LINKS + 4))
    links, complaints = linklist.parse(text, "f")
    assert len(links) == MAX_LINKS
    assert complaints == [f"f:{MAX_LINKS + 1}: more than {MAX_LINKS} links; the rest is skipped"]


def test_only_the_start_of_a_huge_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ips"
    path.write_bytes(b"10.0.0.10\n" + b"#" * 2 * linklist.MAX_FILE_BYTES + b"\n10.0.1.10\n")
    assert linklist.read(path) == ([LinkSpec("10.0.0.10", "10.0.0.10")], [])
