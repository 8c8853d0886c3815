"""Names in /etc/hosts."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from netbond.system.hosts import address_of

TEXT = """\
127.0.0.1 localhost
# 192.0.2.1 bond.example.org
192.0.2.x  bond.example.org
2001:db8::7 bond.example.org
192.0.2.7  Bond.Example.org bond # 192.0.2.8 srt.example.org
"""


@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("bond.example.org", 4, "192.0.2.7"),
        ("BOND.example.org.", 4, "192.0.2.7"),
        ("bond", 4, "192.0.2.7"),
        ("bond.example.org", 6, "2001:db8::7"),
        ("bond", 6, None),
        ("srt.example.org", 4, None),
        ("192.0.2.7", 4, None),
    ],
)
def test_the_first_address_of_a_name(tmp_path: Path, name: str, family: int, expected: str | None) -> None:
    (tmp_path / "hosts").write_text(TEXT)
    found = address_of(name, family, tmp_path / "hosts")
    assert found == (None if expected is None else ip_address(expected))


def test_without_the_file_no_name_is_known(tmp_path: Path) -> None:
    assert address_of("localhost", 4, tmp_path / "none") is None
    (tmp_path / "link").symlink_to("link")
    assert address_of("localhost", 4, tmp_path / "link") is None
