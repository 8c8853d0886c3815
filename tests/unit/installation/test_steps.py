"""What installing and removing do to each file."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from netbond.installation.contents import CONFIG, Item
from netbond.installation.steps import (
    NOTHING,
    Entry,
    Installed,
    after_installing,
    after_removing,
    digest,
    installing,
    removing,
)

UNIT = Item("/etc/systemd/system/netbond.service", "new\n", 0o644, "the service")
SETTINGS = Item(CONFIG, "new\n", 0o644, "the configuration", config=True)
LINK = Item("/usr/local/bin/netbond", "/opt/netbond/bin/netbond", 0o777, "the command", link=True)
ALL = (LINK, SETTINGS, UNIT)


def as_written(items: tuple[Item, ...] = ALL) -> dict[str, str]:
    return {item.path: digest(item.text, link=item.link) for item in items}


def installed(items: tuple[Item, ...] = ALL) -> Installed:
    return after_installing(installing(items, {}, NOTHING, configure=False), "box", NOTHING, ["/etc/netbond"])


def actions(item: Item, there: str | None, before: Installed = NOTHING, *, configure: bool = False) -> str:
    found = {} if there is None else {item.path: digest(there)}
    return installing([item], found, before, configure=configure)[0].action


def test_what_is_missing_is_written() -> None:
    assert actions(UNIT, None) == "write"
    assert actions(UNIT, None, installed()) == "write"  # also what its owner has deleted


def test_what_was_there_before_is_kept() -> None:
    assert actions(UNIT, "by hand\n") == "keep"
    assert actions(UNIT, "new\n") == "same"


def test_an_upgrade_replaces_what_nobody_has_changed() -> None:
    old = installed((replace(UNIT, text="old\n"),))
    assert actions(UNIT, "old\n", old) == "write"
    assert actions(UNIT, "old, and a line of mine\n", old) == "keep"


def test_a_configuration_changes_only_on_request() -> None:
    old = installed((replace(SETTINGS, text="old\n"),))
    assert actions(SETTINGS, "old\n", old) == "same"
    assert actions(SETTINGS, "old\n", old, configure=True) == "write"
    assert actions(SETTINGS, "mine\n", old, configure=True) == "keep"


def test_a_configuration_that_stays_is_still_known_as_it_was_made() -> None:
    old = installed((replace(SETTINGS, text="old\n"),))
    found = {CONFIG: digest("old\n")}
    after = after_installing(installing([SETTINGS], found, old, configure=False), "box", old, [])
    assert actions(SETTINGS, "old\n", after, configure=True) == "write"


def test_a_link_is_not_a_file_with_its_targets_name() -> None:
    assert digest(LINK.text, link=True) != digest(LINK.text)
    assert actions(LINK, LINK.text) == "keep"


def test_removing_leaves_the_configuration_and_what_was_changed() -> None:
    found = as_written() | {UNIT.path: digest("mine\n")}
    assert {step.path: step.action for step in removing(installed(), found, ["box"], purge=False)} == {
        LINK.path: "remove",
        CONFIG: "keep",
        UNIT.path: "keep",
    }
    assert {step.action for step in removing(installed(), found, ["box"], purge=True)} == {"remove"}


def test_what_another_role_needs_stays_until_that_goes() -> None:
    both = after_installing(
        installing([LINK], as_written(), installed(), configure=False), "receiver", installed(), []
    )
    assert both.files[LINK.path].roles == ("box", "receiver")
    steps = removing(both, as_written(), ["box"], purge=True)
    assert next(step.action for step in steps if step.path == LINK.path) == "keep"
    left = after_removing(steps, ["box"], both)
    assert left.files == {LINK.path: Entry(digest(LINK.text, link=True), ("receiver",))}
    assert [step.action for step in removing(left, as_written(), ["receiver"], purge=False)] == ["remove"]


def test_what_stays_is_known_to_a_later_purge() -> None:
    steps = removing(installed(), as_written(), ["box"], purge=False)
    left = after_removing(steps, ["box"], installed())
    assert set(left.files) == {CONFIG}
    assert [step.action for step in removing(left, as_written(), ["box"], purge=True)] == ["remove"]


contents = st.sampled_from([None, "new\n", "old\n", "mine\n"])


@given(there=contents, before=contents, configure=st.booleans(), config=st.booleans())
def test_what_somebody_else_wrote_is_never_lost(
    there: str | None, before: str | None, configure: bool, config: bool
) -> None:
    """Neither by installing nor by a removal without --purge."""
    item = replace(UNIT, config=config)
    record = NOTHING if before is None else installed((replace(item, text=before),))
    found = {} if there is None else {item.path: digest(there)}
    steps = installing([item], found, record, configure=configure)
    if there not in (None, before, item.text):
        assert steps[0].action == "keep"
        after = after_installing(steps, "box", record, [])
        assert all(step.action == "keep" for step in removing(after, found, ["box"], purge=False))
