"""Reads the list of a fleet's boxes, and makes of it what Prometheus reads to find them. Pure.

Prometheus takes such JSON from a file (file_sd_configs) and over HTTP (http_sd_configs), and checks little of
it: two boxes of one name mix their series, and a label with the name of one of netbond's own renames that one
in all series, so that alerts and dashboards do not find it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from netbond.config import load, targets
from netbond.config import values as v
from netbond.config.mistakes import Mistakes
from netbond.config.values import HostPort, InvalidValueError
from netbond.system.text import printable, quoted

PORT = 10469  # of the metrics, unless the configuration says another
TABLES = ("labels", "box")
MAX_TEXT = 200  # characters of a name or of a label's value

# The labels of netbond's metrics (docs/metrics.md), and those that Prometheus sets.
TAKEN = frozenset(
    (
        *(
            "address",
            "check",
            "code",
            "device",
            "engine",
            "family",
            "flavour",
            "gateway",
            "gateway_source",
            "group",
        ),
        *(
            "link",
            "model",
            "name",
            "operator",
            "operator_code",
            "peer",
            "policy",
            "port",
            "reason",
            "role",
            "severity",
        ),
        *("state", "stream", "subject", "table", "technology", "uplink", "value", "version", "what", "why"),
        *("alertname", "alertstate", "instance", "job"),
    )
)


@v.kind({"type": "string", "minLength": 1, "maxLength": MAX_TEXT})
def box_name(value: object) -> str:
    """What alerts and dashboards call the box."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT or printable(value) != value:
        raise InvalidValueError(f"a name of at most {MAX_TEXT} characters, on one line")
    return value


@v.kind({"type": "string"})
def metrics_address(value: object) -> HostPort:
    """Where the box serves its metrics: with the usual port if it names none."""
    text = value if isinstance(value, str) else ""
    if targets.is_name(text) or targets.as_address(text) is not None:
        return HostPort(text, PORT)
    try:
        found = v.parse_host_port(text)
    except ValueError:
        found = HostPort("", 0)
    if not targets.is_name(found.host) and targets.as_address(found.host) is None:
        raise InvalidValueError(
            "'host' or 'host:port', like 'van-1.example.org', '10.8.0.11:10469' or '[fd00::1]:10469'"
        )
    return found


@v.kind({"type": "object", "additionalProperties": {"type": "string"}})
def labels(value: object) -> Mapping[str, str]:
    """Labels that all series of a box get."""
    if not isinstance(value, dict):
        raise InvalidValueError('labels, as in { site = "berlin" }')
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("__"):
            raise InvalidValueError(
                f"names of letters, digits and '_', without '__' before them; not {quoted(name)}"
            )
        if name in TAKEN:
            raise InvalidValueError(
                f"another name than {name}, which metrics have for something else; box_{name}, for example"
            )
        if not isinstance(text, str) or not text or len(text) > MAX_TEXT or printable(text) != text:
            raise InvalidValueError(f"a text of at most {MAX_TEXT} characters for {name}, in quotes")
    return value


@dataclass(frozen=True, slots=True)
class Box:
    """[[box]]: one box of the fleet."""

    name: str = field(metadata={"kind": box_name})
    address: HostPort = field(metadata={"kind": metrics_address})
    labels: Mapping[str, str] = field(default_factory=dict, metadata={"kind": labels})


def read(text: str, mistakes: Mistakes) -> tuple[Box, ...]:
    """Read the list from TOML text, without what is wrong in it, if mistakes are collected.

    A list without boxes is a mistake too: Prometheus would forget all of them.
    """
    data = load.toml(text, TABLES, mistakes)
    common: Mapping[str, str] = {}
    try:
        common = labels(data.get("labels", {}))
    except InvalidValueError as invalid:
        what = f"labels = {load.short(data['labels'])} is not valid"
        mistakes.add("labels", what, f"expected {invalid}")
    rows = data.get("box", [])
    if not isinstance(rows, list):
        mistakes.add("box", "[box] is a single table", "write it as [[box]]")
        return ()
    if not rows:
        mistakes.add("", "it has no box", "add a [[box]] with name and address")
    boxes: list[Box] = []
    names: set[str] = set()
    addresses: set[str] = set()
    for number, row in enumerate(rows, 1):
        box = load.fill(Box, row, f"box[{number}]", mistakes)
        if box is None:
            continue
        for what, value, seen in (("name", box.name, names), ("address", str(box.address), addresses)):
            if value in seen:
                twice = f"two boxes have the {what} {quoted(value)}"
                mistakes.add(f"box[{number}].{what}", twice, "remove one, or correct it")
            seen.add(value)
        boxes.append(Box(box.name, box.address, {**common, **box.labels}))
    return tuple(boxes)


def target_groups(boxes: Iterable[Box]) -> str:
    """The boxes as JSON for file_sd_configs and http_sd_configs, a line for each."""
    groups: list[dict[str, Any]] = [
        {"targets": [str(box.address)], "labels": {"instance": box.name, **box.labels}} for box in boxes
    ]
    return "[\n" + ",\n".join(json.dumps(group, ensure_ascii=False) for group in groups) + "\n]\n"
