"""What has happened between snapshots: one line each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from netbond.events import MISSING_S, OVER_S, REMEMBERED, SETTLE_S, STREAM_ENDED_S, EventFinder, News
from netbond.status.assessment import belated
from netbond.status.schema import from_json
from tests.unit.status.faults import (
    at_home,
    backpack,
    engine_is,
    gone,
    links_of,
    not_registered,
    one_link,
    stats_of,
    studio,
    uplink_is,
)


class Story:
    """A box, and what is told of it; time goes on by a second at each look."""

    def __init__(self, box: dict[str, Any]) -> None:
        self.box = box
        self.now = 1000.0
        self.finder = EventFinder()
        self.first = self.look()

    def look(self) -> list[News]:
        self.now += 1.0
        return self.finder.look(belated(from_json(self.box)), self.now)

    def told(self, seconds: int, change: Callable[[dict[str, Any]], object] = lambda _box: None) -> list[str]:
        """The lines of this many seconds after the change."""
        change(self.box)
        return [news.text for _ in range(seconds) for news in self.look()]


def test_what_is_there_at_the_start_is_no_news_but_what_is_wrong_is() -> None:
    assert Story(backpack()).first == []
    box = at_home()
    uplink_is(1, "dead", "gateway: no answer")(box)
    assert [(one.kind, one.text) for one in Story(box).first] == [
        ("uplink-dead", "usb1 dead: gateway: no answer")
    ]


def test_an_unplugged_modem_and_its_return_are_a_line_each() -> None:
    story = Story(backpack())
    story.told(2)
    with_it = copy.deepcopy(story.box)
    assert story.told(9, gone) == ["usb3 unplugged; the stream goes on over 3 links"]
    stats_of(with_it)["dropped"] = 12
    story.box = copy.deepcopy(with_it)
    assert story.told(10) == [
        "usb3 back after 9 s with the same address; the stream lost 12 packets meanwhile"
    ]
    story.told(5, gone)
    story.box = copy.deepcopy(with_it)
    story.box["uplinks"][3]["address"] = "10.0.3.99"
    assert story.told(10) == [
        "usb3 back after 5 s with another address, 10.0.3.99; the stream lost nothing meanwhile"
    ]


def test_the_second_family_of_an_uplink_is_no_news() -> None:
    story = Story(at_home())
    sixth = {**story.box["uplinks"][1], "family": 6, "address": "2001:db8::2"}
    assert story.told(5, lambda box: box["uplinks"].append(sixth)) == []
    assert story.told(5, lambda box: box["uplinks"].pop()) == []


def test_without_a_stream_the_uplinks_that_are_left_count() -> None:
    story = Story(at_home())
    second = story.box["uplinks"].pop()
    assert story.told(3) == ["usb1 gone: gone; 1 uplink left"]
    story.box["uplinks"].append({**second, "state": "standby"})
    assert story.told(3) == ["usb1 back after 3 s with the same address, standby"]
    third = {**second, "name": "roof", "device": "wwan0", "address": "10.9.9.9"}
    assert story.told(3, lambda box: box["uplinks"].append(third)) == [
        "roof is new: 10.9.9.9 via 10.0.1.1 (dhclient)"
    ]
    assert story.told(3, lambda box: box["uplinks"][0].update(address="10.0.0.77")) == [
        "usb0 has another address, 10.0.0.77 (before: 10.0.0.10)"
    ]


def test_an_address_that_is_renewed_is_no_news() -> None:
    story = Story(at_home())
    second = story.box["uplinks"].pop()
    assert story.told(1) == []
    story.box["uplinks"].append(second)
    assert story.told(5) == []
    assert SETTLE_S <= 1.0


def test_a_backup_that_is_used() -> None:
    story = Story(at_home())
    story.box["uplinks"][1]["state"] = "standby"
    story.told(2)
    assert story.told(2, uplink_is(1, "up", "")) == ["usb1, a backup, is used now"]
    assert story.told(2, uplink_is(1, "standby", "waits")) == ["usb1 waits again as a backup"]


def test_a_problem_begins_and_is_over_with_what_it_cost() -> None:
    story = Story(backpack())
    well = copy.deepcopy(story.box)
    story.told(2)
    one_link(state="down", reason="silent for 5 s", silent_ms=5000)(story.box)
    (began,) = story.look()
    assert (began.kind, began.subject, began.level, began.text) == (
        "link-down",
        "usb3",
        "warning",
        "usb3: no answer",
    )
    assert began.logged
    assert story.told(29) == []
    stats_of(well)["dropped"] = 3
    story.box = well
    assert story.told(int(OVER_S)) == []
    assert story.told(2) == ["over after 35 s: usb3: no answer; the stream lost 3 packets meanwhile"]


def test_a_problem_that_is_away_for_a_moment_goes_on() -> None:
    """An engine that was started again registers its links anew."""
    story = Story(backpack())
    down = one_link(state="down", reason="silent for 5 s", silent_ms=5000)
    well, ill = copy.deepcopy(story.box), story.box
    story.told(2)
    assert story.told(1, down) == ["usb3: no answer"]
    story.box = well
    assert story.told(3) == []
    story.box = ill
    assert story.told(20) == []


def test_what_was_wrong_with_a_modem_that_is_unplugged_is_not_over() -> None:
    story = Story(backpack())
    story.told(2)
    assert story.told(3, uplink_is(3, "dead", "gateway: no answer")) == ["usb3 dead: gateway: no answer"]
    assert story.told(20, gone) == ["usb3 unplugged; the stream goes on over 3 links"]


def test_what_is_broken_is_an_error_and_a_notice_is_none() -> None:
    story = Story(backpack())
    not_registered("nothing listens at the receiver's port")(story.box)
    (news,) = story.look()
    assert (news.level, news.text) == ("error", "nothing listens at bond.example.org:5000")
    quiet = Story(backpack())
    assert quiet.told(3, lambda box: stats_of(box).update(flavour="pure")) == [
        "the stream of sender 127.0.0.1:6000 began over 4 links"
    ]


def test_a_stream_begins_and_ends() -> None:
    story = Story(backpack())
    assert story.told(3) == ["the stream of sender 127.0.0.1:6000 began over 4 links"]
    stats_of(story.box).update(bytes=5_400_001, dropped=12)
    story.told(7)

    def silent(box: dict[str, Any]) -> None:
        stats_of(box)["caller_closed"] = True
        for each in links_of(box):
            each["bitrate_bps"] = 400

    assert story.told(int(STREAM_ENDED_S) + 1, silent) == [
        "the stream of sender 127.0.0.1:6000 ended after 9 s: 5.4 MB, 12 packets lost"
    ]


def test_what_another_process_counts_is_not_added() -> None:
    story = Story(backpack())
    story.told(3)
    story.told(3, lambda box: (engine_is(pid=4711)(box), stats_of(box).update(bytes=9_000_000)))
    end = story.told(5, lambda box: stats_of(box).update(caller=None))
    assert end == ["the stream of sender 127.0.0.1:6000 ended after 5 s"]


def test_streams_of_a_receiver_have_their_names() -> None:
    story = Story(studio())
    assert story.told(2) == ["stream live/~3f2a began over 2 links"]
    (group,) = stats_of(story.box)["groups"]
    group.update(payload_bytes=2_000_000, dropped_packets=3)
    story.told(1)
    assert story.told(5, lambda box: stats_of(box).update(groups=[])) == [
        "stream live/~3f2a ended after 2 s: 2.0 MB, 1 packet lost"
    ]


@pytest.mark.parametrize("known", [True, False])
def test_an_uplink_that_is_missing_is_said_once_unless_it_was_seen_to_go(*, known: bool) -> None:
    box = at_home()
    story = Story(box)
    name = "usb1" if known else "usb7"
    detail: dict[str, Any] = {"code": "uplink-missing", "subject": name, "severity": "degraded", "hint": ""}
    detail |= {"text": f"{name}: no such interface now", "since_s": 0.0}
    box["agent"].update(problem_details=[detail], problems=[detail["text"]])
    box["verdict"] = {"text": "", "code": 1}
    assert story.told(3) == []
    detail["since_s"] = MISSING_S
    assert story.told(3) == ([] if known else ["usb7: no such interface now"])


def test_what_is_remembered_is_bounded() -> None:
    story = Story(at_home())
    for number in range(REMEMBERED + 10):
        row = {**story.box["uplinks"][0], "name": f"x{number}", "device": f"x{number}"}
        story.box["uplinks"].append(row)
        story.told(1)
        story.box["uplinks"].pop()
        story.told(3)
    assert len(story.finder._gone) == REMEMBERED
