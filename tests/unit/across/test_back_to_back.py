"""Sender and receiver back to back over links that delay, lose and die, with a clock of their own."""

from __future__ import annotations

import pytest

from netbond.health.stream_evidence import evidence
from netbond.srtla import wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.senderevents import GroupChanged, LinkDown, LinkUp
from netbond.srtla.statistics import SenderStatistics
from netbond.system.typed_json import from_json
from tests.srtla_util import FakeLink, Network, data_packet, srt_ack, srt_control, srt_nak

TOP = wire.SEQUENCE_MASK


def up(network: Network) -> int:
    return network.sender.usable_links


def connected(*links: FakeLink, seconds: float = 1.0) -> Network:
    network = Network(list(links))
    network.run(seconds)
    assert up(network) == len(links)
    return network


def test_all_links_register_within_three_round_trips() -> None:
    network = Network([FakeLink(0.05), FakeLink(0.02), FakeLink(0.03)])
    network.run(0.04 * 2 + 0.1 + 0.01)  # probe and REG1 on the quickest, then REG2 on the slowest
    assert up(network) == 3
    assert [type(e) for e in network.sender_events].count(GroupChanged) == 1


def test_registration_uses_a_link_that_works() -> None:
    network = Network([FakeLink(0.001, alive=False), FakeLink(0.05)])
    network.run(1.0)
    assert up(network) == 1


@pytest.mark.parametrize("seed", range(5))
def test_registration_gets_through_heavy_loss(seed: int) -> None:
    network = Network([FakeLink(0.02, loss=0.4), FakeLink(0.05, loss=0.4)], seed=seed)
    network.run(40.0)
    assert any(isinstance(event, LinkUp) for event in network.sender_events)
    assert up(network) > 0


def test_a_second_of_latency_is_no_obstacle() -> None:
    connected(FakeLink(0.02), FakeLink(1.0), seconds=5.0)


@pytest.mark.parametrize("first", [0, 5000, TOP - 100])
def test_the_stream_is_whole_and_every_link_carries_some(first: int) -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03), FakeLink(0.05))
    network.stream(first, 500)
    network.run(0.2)
    assert sorted(network.arrived) == sorted(wire.advance(first, step) for step in range(500))
    assert all(link.carried > 50 for link in network.links.values())


def test_all_packets_are_acknowledged_when_the_stream_pauses() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03))
    for number in range(7):  # fewer than ten on each link
        network.caller_sends(data_packet(number))
    network.run(0.2)
    assert [link["in_flight"] for link in network.sender.stats(network.now)["links"]] == [0, 0]


def test_a_dead_links_packets_arrive_over_the_others() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.02))
    network.stream(0, 200)
    network.links[1].alive = False
    network.stream(200, 800)
    network.run(1.0)
    assert set(network.arrived) == set(range(1000))
    assert network.sender.stats(network.now)["resent"] > 0
    network.run(5.0)
    assert up(network) == 1
    assert [e.reason for e in network.sender_events if isinstance(e, LinkDown)] == ["silent for 4 s"]


def test_a_dead_link_comes_back() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.02))
    network.links[1].alive = False
    network.stream(0, 3000)
    assert up(network) == 1
    network.links[1].alive = True
    network.run(1.5)
    assert up(network) == 2


def test_a_pulled_links_packets_go_out_again_at_once() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.02))
    for number in range(20):
        network.caller_sends(data_packet(number))
    network.links[1].alive = False
    network.sender.link_failed(1, "the device is not there", network.now)
    network.run(0.05)
    assert set(network.arrived) == set(range(20))


def test_all_links_dead_and_back_again_in_the_same_group() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03))
    group = network.sender.group
    network.stream(0, 100)
    for link in network.links.values():
        link.alive = False
    network.run(8.0)
    assert up(network) == 0
    for link in network.links.values():
        link.alive = True
    network.run(2.0)
    assert up(network) == 2
    assert network.sender.group == group


def test_packets_stranded_while_all_links_were_dead_arrive_later() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.02))
    for link in network.links.values():
        link.alive = False
    for number in range(10):
        network.caller_sends(data_packet(number))
    network.run(5.0)
    network.links[2].alive = True
    network.run(2.0)
    assert set(network.arrived) == set(range(10))


def test_a_restarted_receiver_is_noticed_at_once() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03))
    group = network.sender.group
    network.stream(0, 100)
    network.new_receiver()
    network.stream(100, 200, interval=0.005)
    assert up(network) == 2
    assert network.sender.group not in (None, group)


def test_a_restarted_receiver_is_noticed_without_traffic_too() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03))
    network.new_receiver()
    network.run(2.5)  # keepalives leave each second
    assert up(network) == 2


def test_a_receiver_that_remembers_goes_on_with_the_same_group() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03))
    group = network.sender.group
    known = [(group_id, links) for _, group_id, links in network.receiver.groups()]
    network.new_receiver()
    network.receiver.restore(known, network.now)
    network.stream(0, 200)
    network.run(0.1)
    assert up(network) == 2
    assert network.sender.group == group
    assert not [event for event in network.sender_events if isinstance(event, LinkDown)]
    assert len(network.arrived) == 200


def test_a_nat_that_changes_a_port_costs_one_round_trip() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03))
    group = network.sender.group
    network.links[1].port = 50001
    network.stream(0, 200)
    network.run(0.1)
    assert up(network) == 2
    assert network.sender.group == group
    assert set(network.arrived) == set(range(200))


def test_an_ack_reaches_the_caller_once_though_each_link_brings_it() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.03), FakeLink(0.04))
    network.stream(0, 100)
    network.run(0.2)
    network.to_caller.clear()
    network.server_sends(srt_ack(100, stamp=999_999))
    network.run(0.2)
    assert network.to_caller == [srt_ack(100, stamp=999_999)]


def test_a_nak_goes_over_one_link_and_counts_once() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.02))
    network.links[1].loss = network.links[2].loss = 1.0
    network.caller_sends(data_packet(0))
    network.run(0.05)
    network.links[1].loss = network.links[2].loss = 0.0
    network.caller_sends(data_packet(1))
    network.run(0.05)
    network.to_caller.clear()
    network.server_sends(srt_nak((0, 0)))
    network.run(0.05)
    network.server_sends(srt_nak((0, 0), stamp=20))  # SRT repeats it until the packet is there
    network.run(0.05)
    assert len(network.to_caller) == 2
    assert sum(link["lost"] for link in network.sender.stats(network.now)["links"]) == 1


def test_handshake_and_shutdown_pass_both_ways() -> None:
    network = connected(FakeLink(0.02))
    for kind in (wire.SRT_HANDSHAKE, wire.SRT_KEEPALIVE, wire.SRT_SHUTDOWN, 0xFFFF):
        network.at_server.clear()
        network.to_caller.clear()
        network.caller_sends(srt_control(kind, bytes(48)))
        network.run(0.05)
        network.server_sends(srt_control(kind, bytes(40)))
        network.run(0.05)
        assert network.at_server == [srt_control(kind, bytes(48))]
        assert network.to_caller == [srt_control(kind, bytes(40))]


def test_an_encoder_restart_with_other_numbers() -> None:
    from tests.srtla_util import induction

    network = connected(FakeLink(0.02), FakeLink(0.02))
    network.stream(TOP - 50, 200)
    network.caller_sends(induction())
    network.stream(7, 200)
    network.run(0.2)
    assert set(range(7, 207)) <= set(network.arrived)
    assert [link["in_flight"] for link in network.sender.stats(network.now)["links"]] == [0, 0]


def test_round_trips_are_measured() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.1), seconds=5.0)
    assert [link["rtt_ms"] for link in network.sender.stats(network.now)["links"]] == [40, 200]


def test_a_link_that_leaves_the_list_leaves_the_others_alone() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.02))
    network.stream(0, 50)
    before = network.sender.stats(network.now)["links"][1]
    network.sender.set_links([LinkSpec("usb2", "10.0.2.10")], network.now)
    network.stream(50, 50)
    network.run(0.1)
    (after,) = network.sender.stats(network.now)["links"]
    assert after["state"] == "up"
    assert after["packets"] > before["packets"]
    assert set(network.arrived) == set(range(100))


def test_no_links_is_a_state_and_not_an_error() -> None:
    network = Network([])
    network.caller_sends(data_packet(0))
    network.run(60.0)
    stats = network.sender.stats(network.now)
    assert (stats["state"], stats["dropped"], stats["links"]) == ("no links", 1, [])
    assert network.sender.next_timer() is None


def test_a_silent_group_expires_and_its_table_entries_with_it() -> None:
    network = connected(FakeLink(0.02), FakeLink(0.02))
    network.stream(0, 20)
    for link in network.links.values():
        link.alive = False
    network.run(22.0)
    assert network.receiver.groups() == []
    assert network.receiver.next_timer() is None
    for link in network.links.values():
        link.alive = True
    network.run(3.0)
    assert up(network) == 2


def test_what_the_health_of_uplinks_is_told() -> None:
    """The statistics as netbond.health.stream_evidence reads them."""
    network = Network([FakeLink(0.01), FakeLink(0.01), FakeLink(0.01, alive=False)])
    specs = [LinkSpec(f"usb{n}", f"10.0.{n}.10", f"usb{n}") for n in (1, 2, 3)]
    network.sender.set_links(specs, network.now)  # with devices: other links than before
    network.links = {number + 3: link for number, link in network.links.items()}
    network.run(0.3)

    def heard() -> dict[str, bool]:
        engine = {"role": "sender", "listen": "", "receiver": "", "receiver_address": None, "caller": None}
        stats = from_json(SenderStatistics, {**engine, **network.sender.stats(network.now)})
        return {word.device: word.ok for word in evidence(stats)}

    assert heard() == {"usb1": True, "usb2": True}, "of a link that was never up there is nothing to say"
    assert network.sender.stats(network.now)["links"][2]["silent_ms"] is None
    network.links[5].alive = False
    network.run(3.5)
    assert heard() == {"usb1": True, "usb2": False}
    network.run(2.0)
    assert network.sender.stats(network.now)["links"][1]["state"] == "down"
    assert heard() == {"usb1": True, "usb2": False}
