"""The numbers of the adaptive mode, in one place, so that the bench can vary them (bench/bonding.py --set).

docs/bonding.md has the formulas in which they stand. "Of the latency" means a share of SRT's latency.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """All numbers that were chosen, not derived."""

    # Time
    latency_s: float = 1.0  # SRT's, until its handshake tells it
    shortest_latency_s: float = 0.02
    longest_latency_s: float = 8.0
    tick_busy_s: float = 0.004  # between two timers while packets wait for a link, ...
    tick_idle_s: float = 0.01  # ... and while packets are only in flight
    wait: float = 0.02  # of the latency: how long packets may wait for others while no link is full, ...
    wait_most_s: float = 0.01  # ... and at most
    held_up_s: float = 0.03  # if our own timer is later than this, the machine is busy

    # Which link takes a packet
    alike: float = 0.2  # of the latency: links on which a packet arrives that much later count as equal
    margin: float = 0.05  # of the latency: a packet must be expected this much before its deadline, ...
    margin_most: float = 0.15  # ... or this much if the share `shortage` of packets is given up
    shortage: float = 0.08
    late_deviations: float = 0.25  # mean deviations to add to the time in which a packet is expected
    hungry_s: float = 1.0  # for which the limit of a link is known after it was full

    # Repeats and copies
    loss_penalty: float = 0.5  # of the latency: how much longer a repeat may take on a link without loss
    aside: int = 16  # repeats that no link can take now, behind which others are tried
    report_grace_s: float = 0.01  # by which a loss report may be older than proof over another link
    overdue_s: float = 0.02  # that proof may be late before idle links get a copy, ...
    batch_most_s: float = 0.05  # ... and at most so much for packets that share an SRTLA ACK
    hurry: float = 0.25  # of the latency: time for a copy, in addition to the shortest round trip

    # Keyframes
    sure_penalty: float = 5.0  # of the latency: so that with 4 % loss a link is no more `alike`
    copies: float = 0.03  # of the bytes, at most
    copy_loss: float = 0.001  # share of packets that a link loses whose packets may get a copy
    copy_haste: float = 1.5  # round trips and ACKs until a loss is noticed, with some delay

    # A link that may have stopped
    ask_every_s: float = 0.1  # at least between two keepalives that measure a link
    ask_grace_s: float = 0.02  # that proof may be overdue before a link gets a keepalive
    answer_grace: float = 0.1  # of the latency: how long the answer may be overdue, then the link is stalled

    # How much may be in flight
    initial_packets: int = 24  # two SRTLA ACKs, and a few more
    initial_rate: float = 400_000.0  # bytes/s that any link is assumed to carry until its first proof
    startup_gain: float = (
        2.9  # additional round trips in flight, which at least double the rate each round trip
    )
    target: float = 0.1  # of the latency: the queue that a link may have, ...
    target_least_s: float = 0.04  # ... at least, ...
    target_most_s: float = 0.15  # ... and at most
    shortest_window_s: float = 10.0  # for which the shortest round trip is valid (BBR)
    probe_gain: float = 1.25  # (BBR)
    probe_every_s: float = 1.0  # between probes that brought nothing, ...
    probe_seldom_s: float = 30.0  # ... and at most between probes that cost packets
    rate_tau_s: float = 0.08  # over which a rate that falls is smoothed

    # How fast it may leave
    pace: float = 1.05  # times the rate, while packets queue in the link
    free_pace: float = 2.5  # ... and while they do not: it may carry more
    full_rtts: float = 1.0  # round trips for which a link counts as full after a packet was queued in it
    startup_pace: float = 3.0
    burst_s: float = 0.006  # what the pace carries in this time may leave at once: looks are 5 ms apart
    burst_packets: int = 8  # or so many
