"""The document: its size, its content security policy, and that it loads nothing from elsewhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import struct

from netbond.page.assets import Asset, load

ASSETS = load()
DOCUMENT = ASSETS["/"].body.decode()


def test_it_is_there_in_3_s_over_200_kbit_per_s() -> None:
    assert sum(len(asset.body) for asset in ASSETS.values()) < 60_000
    assert len(ASSETS["/"].zipped) < 20_000


def test_compressed_it_is_the_same() -> None:
    for asset in ASSETS.values():
        assert gzip.decompress(asset.zipped) == asset.body


def test_nothing_is_loaded_from_elsewhere() -> None:
    for asset in ASSETS.values():
        text = asset.body.decode("latin-1")
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert "//cdn" not in text


def hash_of(tag: str) -> str:
    [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", DOCUMENT, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_this_script_and_this_style_and_no_other() -> None:
    policy = dict(part.strip().split(" ", 1) for part in ASSETS["/"].policy.split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == hash_of("script")
    assert policy["style-src"] == hash_of("style")
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in ASSETS["/"].policy


def test_text_is_never_made_into_elements() -> None:
    """Names of networks and operators come from strangers."""
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", DOCUMENT
    )
    assert not re.findall(r"\son[a-z]+=|style=\"|javascript:", DOCUMENT)


def test_a_phone_can_install_it() -> None:
    manifest = json.loads(ASSETS["/manifest.webmanifest"].body)
    assert manifest["display"] == "standalone"
    assert {f"/{icon['src']}" for icon in manifest["icons"]} <= set(ASSETS)
    assert struct.unpack(">II", ASSETS["/icon.png"].body[16:24]) == (192, 192)
    assert isinstance(ASSETS["/icon.svg"], Asset)
