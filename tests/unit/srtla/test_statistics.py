"""The types of the statistics against what the state machines of both ends make."""

from __future__ import annotations

import json

import pytest

from netbond.config.schema import MODES
from netbond.srtla.process.receiving import _group_statistics, busiest
from netbond.srtla.statistics import (
    GroupStatistics,
    ReceiverStatistics,
    SenderStatistics,
    for_everybody,
)
from netbond.system.typed_json import from_json, to_json
from tests.srtla_util import FakeLink, Network

ENGINE = {"role": "sender", "listen": "", "receiver": "", "receiver_address": None, "caller": None}


@pytest.mark.parametrize("mode", MODES)
def test_what_a_sender_says_is_what_the_types_write(mode: str) -> None:
    """Same keys in the same order: statistics files and `netbond status --json` are read by scripts."""
    network = Network([FakeLink(0.01), FakeLink(0.01, alive=False)], mode=mode)
    network.stream(1, 100)
    network.run(0.5)
    said = {**ENGINE, **network.sender.stats(network.now), "caller_silent_ms": None}
    said |= {"caller_closed": False, "callers_refused": 0, "problems": [], "stream": ""}
    for link in said["links"]:
        link["receiver_address"] = None
    assert json.dumps(to_json(from_json(SenderStatistics, said))) == json.dumps(said)
    assert said["packets"] == 100
    assert ("held" in said) == (mode == "adaptive")


def test_what_a_receiver_says_of_a_group_is_what_the_types_write() -> None:
    network = Network([FakeLink(0.01), FakeLink(0.01)])
    network.stream(1, 100)
    network.run(2.5)
    (said,) = network.receiver.stats(network.now)
    del said["number"]
    found = _group_statistics(said, 5001, "127.0.0.1:5002")
    assert said.pop("stream_id") == "", "left out"
    named = {key: said.pop(key) for key in ("loss_pct", "stream")}
    added = {"srt_port": 5001, **named, "server": "127.0.0.1:5002"}
    assert to_json(found) == json.loads(json.dumps({**said, **added}))
    assert from_json(GroupStatistics, to_json(found)) == found
    assert [link.sender is not None for link in found.links] == [True, True], "extended keepalives tell"


def test_the_busiest_groups_come_first_as_many_as_there_is_room_for() -> None:
    groups = [GroupStatistics(f"{n:08x}", False, 1, 1, 1, n, (), 5) for n in range(20_000)]
    shown = busiest(groups)
    assert [group.bitrate_bps for group in shown[:3]] == [19_999, 19_998, 19_997]
    assert 1000 < len(shown) < len(groups)
    assert len(json.dumps(to_json(ReceiverStatistics("receiver", "", "", shown, 0)))) < 1024 * 1024


def test_a_receiver_with_one_process_names_no_workers() -> None:
    alone = to_json(ReceiverStatistics("receiver", "[::]:5000", "127.0.0.1:5002", (), 0))
    assert list(alone) == ["role", "listen", "srt", "groups", "groups_left_out", "refused"]


def test_ids_of_streams_are_not_for_everybody() -> None:
    ours = {"stream": "live/~3f2a", "stream_id": "live/secret"}
    network = Network([FakeLink(0.01)])
    network.run(0.5)
    sender = from_json(SenderStatistics, {**ENGINE, **network.sender.stats(network.now), **ours, "links": []})
    group = GroupStatistics("0a", False, 1, 1, 1, 1, (), 5, stream="live/~3f2a", stream_id="live/secret")
    receiver = ReceiverStatistics("receiver", "", "", (group,), 0)
    for stats in (sender, receiver):
        assert "live/secret" in json.dumps(to_json(stats))
        said = json.dumps(to_json(for_everybody(stats)))
        assert "live/~3f2a" in said
        assert "secret" not in said
        assert "stream_id" not in said
    assert to_json(for_everybody(sender)) == {
        key: value for key, value in to_json(sender).items() if key != "stream_id"
    }
