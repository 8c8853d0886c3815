"""contrib/container/compose.yaml fits the image, and the options of `netbond recv`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from netbond import __version__
from netbond.cli import recv
from netbond.cli.parser import Parser

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import container_image  # noqa: E402

FOLDER = ROOT / "contrib/container"
IMAGE = container_image.receiver(__version__, "amd64")


@pytest.fixture
def compose() -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra `site`")
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))


def test_the_receiver_is_the_image_with_options_that_there_are(compose: Any) -> None:
    service = compose["services"]["recv"]
    assert service["image"] == IMAGE.name
    parser = Parser()
    recv.configure(parser)
    args = parser.parse_intermixed_args([*IMAGE.entrypoint[3:], *service["command"]])
    assert str(args.stats_file) == container_image.STATISTICS, "the health check reads it"
    assert [f"{args.resume_file.parent}"] == [volume.split(":")[1] for volume in service["volumes"]]
    assert args.resume_file.parent == Path("/") / container_image.STATE, (
        "the container's user may write there"
    )
    assert [str(args.stats_key_file)] == [f"/run/secrets/{name}" for name in service["secrets"]]
    assert args.srt in compose["services"]["srt"]["command"][0], "where the SRT server listens"


def test_what_it_names_is_there(compose: Any) -> None:
    services = compose["services"].values()
    assert {f"{volume.split(':')[0]}" for one in services for volume in one.get("volumes", [])} == set(
        compose["volumes"]
    )
    assert {name for one in services for name in one.get("secrets", [])} == set(compose["secrets"])
    assert (FOLDER / compose["services"]["srt"]["build"]["dockerfile"]).is_file()


def test_nothing_in_it_needs_root_or_a_writable_file_system(compose: Any) -> None:
    for service in compose["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert f"USER {container_image.USER}:" in (FOLDER / "Containerfile.srt").read_text(encoding="utf-8")
