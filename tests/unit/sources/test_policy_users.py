"""The users of policies, by /etc/passwd."""

from __future__ import annotations

from pathlib import Path

from netbond.config.load import parse
from netbond.model import Facts
from netbond.sources.policy_users import PolicyUsers

CONFIG = parse('[[policy]]\nname = "b"\nuid = ["backup", "www", "1000"]\nuplinks = ["dsl"]')


def test_names_have_the_numbers_of_the_file(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/:/bin/sh\nbackup:x:34:34::/:/bin/sh\nodd:x:y:1::/:\n\nshort:x\n")
    source = PolicyUsers(CONFIG, passwd)
    assert source.contribute(Facts(), 0).users == (("backup", 34),)
    assert source.problems == (f"policy b: there is no user 'www' in {passwd}",)
    passwd.write_text("www:x:33:33::/:/bin/sh\nbackup:x:35:35::/:/bin/sh\n")
    assert source.contribute(Facts(), 1).users == (("backup", 35), ("www", 33))
    assert not source.problems


def test_without_names_or_file(tmp_path: Path) -> None:
    source = PolicyUsers(CONFIG, tmp_path / "none")
    assert source.contribute(Facts(), 0).users == ()
    assert len(source.problems) == 2
    source.configure(parse(""))
    assert source.contribute(Facts(), 0).users == ()
    assert not source.problems
