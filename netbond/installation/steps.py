"""Decides what installing and removing do to each file. Pure.

A file that is not as netbond put it belongs to its owner: it is neither changed nor removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from netbond.installation.contents import CONFIG, Item, Role

Action = Literal["write", "same", "keep", "remove"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or link that netbond put there: the digest of what it wrote, and for which roles."""

    digest: str
    roles: tuple[Role, ...]
    config: bool = False


@dataclass(frozen=True, slots=True)
class Installed:
    """What netbond has put on the box: kept in /var/lib/netbond/installed.json for `netbond uninstall`."""

    files: dict[str, Entry]
    release: str = ""  # of the netbond that did it last
    folders: tuple[str, ...] = ()  # that were made for them
    user_made: bool = False
    sysctls: dict[str, int] | None = None  # that were changed: their values before


NOTHING = Installed({})


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one path, and why."""

    action: Action
    path: str
    why: str
    item: Item | None = None


def digest(data: str | bytes, *, link: bool = False) -> str:
    """What tells one content from another; a link's is that of its target, and differs from a file's."""
    data = data.encode() if isinstance(data, str) else data
    return ("link:" if link else "sha256:") + hashlib.sha256(data).hexdigest()


def installing(
    items: Iterable[Item], found: Mapping[str, str], installed: Installed, *, configure: bool
) -> tuple[Step, ...]:
    """The steps of an installation. `found` has the digests of what is there by path.

    `configure`: the user has named values that belong into configuration files. Otherwise those that are
    there stay as they are.
    """
    return tuple(_installing(item, found.get(item.path), installed, configure) for item in items)


def _installing(item: Item, there: str | None, installed: Installed, configure: bool) -> Step:
    if there is None:
        return Step("write", item.path, item.about, item)
    if there == digest(item.text, link=item.link):
        return Step("same", item.path, "is as it should be", item)
    ours = installed.files.get(item.path)
    if ours is None or ours.digest != there:
        who = "it was there before netbond" if ours is None else "it was changed by its owner"
        return Step("keep", item.path, who, item)
    if item.config and not configure:
        return Step("same", item.path, "stays as it was made", item)
    return Step("write", item.path, f"{item.about}: a new one", item)


def after_installing(
    steps: Iterable[Step], role: Role, installed: Installed, folders: Iterable[str]
) -> Installed:
    """What is installed when the steps have been carried out; `folders` were made on the way."""
    files = dict(installed.files)
    for step in steps:
        item = step.item
        if item is None or step.action not in ("write", "same"):
            continue
        before = files.get(step.path)
        roles = tuple(sorted({*(before.roles if before else ()), role}))
        # What was "the same" although the text differs is a configuration file as it was made before.
        kept = step.action == "same" and before is not None
        files[step.path] = Entry(
            before.digest if kept and before else digest(item.text, link=item.link), roles, item.config
        )
    return replace(installed, files=files, folders=tuple(sorted({*installed.folders, *folders})))


def removing(
    installed: Installed, found: Mapping[str, str], roles: Iterable[Role], *, purge: bool
) -> tuple[Step, ...]:
    """The steps that take an installation of these roles away.

    What is needed by another role stays. So do, unless `purge`, the configuration and what was changed.
    """
    gone = set(roles)
    steps = []
    for path, entry in sorted(installed.files.items()):
        there = found.get(path)
        if there is None or not gone & set(entry.roles):
            continue
        if set(entry.roles) - gone:
            steps.append(Step("keep", path, f"the {min(set(entry.roles) - gone)} needs it"))
        elif purge:
            steps.append(Step("remove", path, ""))
        elif there != entry.digest:
            steps.append(Step("keep", path, "it was changed by its owner"))
        elif entry.config and path == CONFIG:
            steps.append(Step("keep", path, "the configuration"))
        else:
            steps.append(Step("remove", path, ""))
    return tuple(steps)


def after_removing(steps: Iterable[Step], roles: Iterable[Role], installed: Installed) -> Installed:
    """What is left when the steps have been carried out: what was kept stays known, for a later --purge."""
    gone = set(roles)
    removed = {step.path for step in steps if step.action == "remove"}
    needed = {step.path for step in steps if step.why.endswith("needs it")}
    files = {}
    for path, entry in installed.files.items():
        if path in removed:
            continue
        left = tuple(role for role in entry.roles if role not in gone) if path in needed else entry.roles
        files[path] = replace(entry, roles=left)
    return replace(installed, files=files)
