"""Prometheus metrics, served over HTTP from the latest snapshot; and /advice, for scripts beside an encoder.

A scrape runs in a thread of its own and sees one snapshot, which nobody changes any more: it never touches
the agent's live state and never waits for it. docs/metrics.md lists the names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from netbond.config.values import HostPort
from netbond.model import UplinkState
from netbond.problems import NOTICE, is_on_purpose
from netbond.srtla.statistics import ReceiverStatistics, SenderStatistics
from netbond.srtla.watch import VERSION, AdvicePage, WatchLine
from netbond.status.schema import (
    AgentStatus,
    DataPlanStatus,
    EcmpStatus,
    EngineStatus,
    HealthStatus,
    IdleModem,
    ModemStatus,
    OverrideStatus,
    PolicyStatus,
    Snapshot,
    UplinkStatus,
    Verdict,
)
from netbond.status.stream_totals import StreamTotals
from netbond.system.http_server import HttpServer, send_json
from netbond.system.text import printable
from netbond.system.typed_json import to_json

Advice = Callable[[], Mapping[str, WatchLine]]
Samples = Iterator[tuple[tuple[str, ...], float | None]]

_UPLINK = ("device", "address")
_ENGINE = ("engine", "role")
_CHECK = (*_UPLINK, "check")
_LINK = ("engine", "link", "device", "address")
_PEER = ("engine", "group", "peer")
_STREAM = ("engine", "stream")
_STREAM_LINK = (*_STREAM, "link")
_MAX_LINK = 9999  # a sender's number of a link; a larger one is no count of links

_HEALTH = ("up", "degraded", "suspect", "down", "unknown")


# --- from a snapshot to metrics ----------------------------------------------------------------------------


class SnapshotCollector(Collector):
    """Turns the snapshot of the moment into metrics, at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._snapshot = snapshot
        self._totals = StreamTotals()

    def collect(self) -> Iterator[Metric]:
        """All metrics; none at all before the agent has its first snapshot."""
        snapshot = self._snapshot()
        if snapshot is not None:
            yield from _agent(snapshot.agent)
            yield from _verdict(snapshot.verdict)
            yield from _uplinks(snapshot.uplinks)
            yield from _expected(snapshot)
            yield from _overrides(snapshot.overrides)
            yield from _ecmp(snapshot.ecmp)
            yield from _policies(snapshot.policies)
            yield from _health(snapshot.health)
            yield from _metered(snapshot.metered)
            yield from _modems(snapshot.modems, snapshot.idle_modems)
            yield from _engines(snapshot.engines)
            yield from _streams(snapshot.engines, self._totals)


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    return _fill(GaugeMetricFamily(name, text, labels=labels), samples)


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    return _fill(CounterMetricFamily(name, text, labels=labels), samples)


def _fill(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    """Add the samples that have a number, the first one only for the same labels.

    Prometheus would refuse the whole scrape for a sample that comes twice, and what an engine says of its
    links is not to be relied on.
    """
    seen = set()
    for raw_labels, value in samples:
        labels = tuple(printable(label, 200) for label in raw_labels)
        number = _number(value)
        if number is not None and labels not in seen:
            seen.add(labels)
            family.add_metric(labels, number)
    return family


def _number(value: float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:  # what an engine says need not make sense
        return None


def _times(value: float | None, scale: float) -> float | None:
    found = _number(value)
    return None if found is None else found * scale


def _agent(agent: AgentStatus) -> Iterator[Metric]:
    yield _gauge("netbond_agent_info", "The agent; always 1.", ("version",), iter([((agent.version,), 1)]))
    yield _gauge(
        "netbond_agent_uptime_seconds", "Time since the agent started.", (), iter([((), agent.uptime_s)])
    )
    yield _counter(
        "netbond_agent_changes",
        "Routes and rules added or removed since the agent started.",
        (),
        iter([((), agent.changes)]),
    )
    yield _gauge(
        "netbond_agent_problems",
        "Things that are wrong at present; netbond status names them.",
        (),
        iter([((), len(agent.problems) - sum(one.severity == NOTICE for one in agent.problem_details))]),
    )
    yield _gauge(
        "netbond_problem",
        "Something that is wrong at present, or worth a notice; always 1.",
        ("code", "subject", "severity"),
        (((one.code, one.subject, one.severity), 1) for one in agent.problem_details),
    )
    yield _gauge(
        "netbond_problem_since_seconds",
        "How long it has been so.",
        ("code", "subject"),
        (((one.code, one.subject), one.since_s) for one in agent.problem_details),
    )


def _verdict(verdict: Verdict | None) -> Iterator[Metric]:
    yield _gauge(
        "netbond_verdict",
        "0: fine, 1: degraded, 2: broken, 3: not known yet; as netbond status --check.",
        (),
        iter([((), None if verdict is None else verdict.code)]),
    )


def _uplinks(uplinks: Sequence[UplinkStatus]) -> Iterator[Metric]:
    yield _gauge(
        "netbond_uplink_info",
        "How an uplink is reached; always 1.",
        (*_UPLINK, "name", "gateway", "gateway_source", "table", "state"),
        (
            ((u.device, u.address, u.name, u.gateway or "", u.gateway_source, str(u.table), u.state), 1)
            for u in uplinks
        ),
    )
    yield _gauge(
        "netbond_uplink_up",
        "Whether new traffic may leave by the uplink (1) or not (0).",
        _UPLINK,
        (((u.device, u.address), u.state == UplinkState.UP) for u in uplinks),
    )
    yield _gauge(
        "netbond_uplink_in_ecmp",
        "Whether the uplink is a leg of the ECMP default.",
        _UPLINK,
        (((u.device, u.address), u.in_ecmp) for u in uplinks),
    )
    yield _gauge(
        "netbond_uplink_weight",
        "The weight of the uplink, configured or measured.",
        _UPLINK,
        (((u.device, u.address), u.weight) for u in uplinks),
    )
    # A device may be several uplinks: one of each family, and of each gateway.
    devices = {u.device: u for u in uplinks}
    yield _counter(
        "netbond_uplink_receive_bytes",
        "Bytes that the interface has received since it exists.",
        ("device",),
        (((device,), u.rx_bytes) for device, u in devices.items()),
    )
    yield _counter(
        "netbond_uplink_transmit_bytes",
        "Bytes that the interface has sent since it exists.",
        ("device",),
        (((device,), u.tx_bytes) for device, u in devices.items()),
    )


def _overrides(overrides: Sequence[OverrideStatus]) -> Iterator[Metric]:
    yield _gauge(
        "netbond_uplink_override",
        "What a person has set of an uplink with netbond set; always 1.",
        ("name", "what", "value"),
        (((one.uplink, one.what, str(one.value)), 1) for one in overrides),
    )


def _expected(snapshot: Snapshot) -> Iterator[Metric]:
    """For alerts: the other series of a modem that was unplugged are not there any more."""
    devices = {uplink.device for uplink in snapshot.uplinks}
    missing = [
        *((each.name, each.label or each.name, each.reason) for each in snapshot.idle if each.name),
        *((each.device, each.name, each.reason) for each in snapshot.gone),
    ]
    off = {one.uplink for one in snapshot.overrides if one.value == "off"}  # its cable may be pulled, too
    names = [uplink.name for uplink in snapshot.uplinks]
    names += [
        name
        for device, name, why in missing
        if device not in devices and name not in off and not is_on_purpose(why)
    ]
    yield _gauge(
        "netbond_uplink_expected",
        "An uplink that is there, that an [[uplink]] names, or that went in the last 10 minutes; always 1.",
        ("name",),
        (((name,), 1) for name in names),
    )


def _ecmp(ecmp: EcmpStatus) -> Iterator[Metric]:
    yield _gauge(
        "netbond_ecmp_weight",
        "The weight of a leg of the ECMP default.",
        ("family", "device", "gateway"),
        (((str(leg.family), leg.device, leg.gateway or ""), leg.weight) for leg in ecmp.legs),
    )


def _policies(policies: Sequence[PolicyStatus]) -> Iterator[Metric]:
    if not policies:
        return
    ways = [((policy.name, str(way.family)), way) for policy in policies for way in policy.ways]
    yield _gauge(
        "netbond_policy_tier",
        "The tier that new connections of a policy use, from 1; 0: none works.",
        ("policy", "family"),
        ((labels, way.tier) for labels, way in ways),
    )
    yield _gauge(
        "netbond_policy_best_tier",
        "The first tier of a policy that works; less than its tier while that one overflows.",
        ("policy", "family"),
        ((labels, way.best) for labels, way in ways),
    )
    yield _gauge(
        "netbond_policy_uplink_weight",
        "The weight of an uplink that new connections of a policy use.",
        ("policy", "family", "uplink"),
        (((*labels, uplink.name), uplink.weight) for labels, way in ways for uplink in way.uplinks),
    )


def _health(healths: Sequence[HealthStatus]) -> Iterator[Metric]:
    checks = [((h.device, h.address, check.name), check) for h in healths for check in h.checks]
    yield _gauge(
        "netbond_uplink_health",
        "What checks say of the uplink: 1 for the state that it is in, 0 for the others.",
        (*_UPLINK, "state"),
        (((h.device, h.address, state), h.state == state) for h in healths for state in _HEALTH),
    )
    yield _gauge(
        "netbond_health_check_ok",
        "Whether the check passes; absent while it waits for an answer or for a check before it.",
        _CHECK,
        ((labels, check.state == "ok") for labels, check in checks if check.state != "waiting"),
    )
    yield _gauge(
        "netbond_health_rtt_seconds",
        "Smoothed round trip time of the check's fastest target; absent while unknown.",
        _CHECK,
        ((labels, _times(check.rtt_ms, 0.001)) for labels, check in checks),
    )
    yield _gauge(
        "netbond_health_loss_ratio",
        "Share of the check's last answers that are missing, 0 to 1; absent while unknown.",
        _CHECK,
        ((labels, check.loss) for labels, check in checks),
    )


def _metered(plans: Sequence[DataPlanStatus]) -> Iterator[Metric]:
    yield _gauge(
        "netbond_metered_used_bytes",
        "Bytes received and sent in the open month of the data plan.",
        ("device",),
        (((plan.device,), plan.used_bytes) for plan in plans),
    )
    yield _gauge(
        "netbond_metered_budget_bytes",
        "The data plan.",
        ("device",),
        (((plan.device,), plan.budget_bytes) for plan in plans),
    )


def _modems(used: Mapping[str, ModemStatus], idle: Sequence[IdleModem]) -> Iterator[Metric]:
    """No IMEI, IMSI or number: they identify a person for life, and metrics are copied to many places."""
    yield _gauge(
        "netbond_modem_uplink",
        "Whether the modem is an uplink (1) or not (0), its state, and what keeps it from being one.",
        ("device", "port", "state", "why"),
        (
            ((device, modem.port, modem.state, why), is_used)
            for device, modem, why, is_used in (
                *((device, modem, "", 1) for device, modem in used.items()),
                *((modem.device or "", modem, modem.why, 0) for modem in idle),
            )
        ),
    )
    # One without interface has no place in the others: they are told apart by it.
    modems = {**used, **{modem.device: modem for modem in idle if modem.device}}
    yield _gauge(
        "netbond_modem_info",
        "The modem and its network; always 1.",
        ("device", "operator", "operator_code", "technology", "model"),
        (
            ((device, m.operator, m.operator_code, ",".join(sorted(m.technologies)), m.model), 1)
            for device, m in modems.items()
        ),
    )
    yield _gauge(
        "netbond_modem_registered",
        "Whether the modem is in a network, at home or abroad.",
        ("device",),
        (((device,), modem.roaming is not None) for device, modem in modems.items()),
    )
    yield _gauge(
        "netbond_modem_roaming",
        "Whether the modem is in a foreign network; absent while it is in none.",
        ("device",),
        (((device,), modem.roaming) for device, modem in modems.items()),
    )
    yield _gauge(
        "netbond_modem_signal_quality_ratio",
        "Signal quality, 0 to 1; absent while unknown, as are the next four.",
        ("device",),
        (((device,), _times(modem.signal_quality, 0.01)) for device, modem in modems.items()),
    )
    yield _gauge(
        "netbond_modem_rssi_dbm",
        "Received signal strength.",
        ("device",),
        (((device,), modem.rssi_dbm) for device, modem in modems.items()),
    )
    yield _gauge(
        "netbond_modem_rsrp_dbm",
        "Reference signal received power (LTE, 5G).",
        ("device",),
        (((device,), modem.rsrp_dbm) for device, modem in modems.items()),
    )
    yield _gauge(
        "netbond_modem_rsrq_db",
        "Reference signal received quality (LTE, 5G).",
        ("device",),
        (((device,), modem.rsrq_db) for device, modem in modems.items()),
    )
    yield _gauge(
        "netbond_modem_snr_db",
        "Signal to noise ratio.",
        ("device",),
        (((device,), modem.snr_db) for device, modem in modems.items()),
    )


def _engines(engines: Sequence[EngineStatus]) -> Iterator[Metric]:
    yield _gauge(
        "netbond_engine_up",
        "Whether the engine runs and is ready (1) or not (0).",
        _ENGINE,
        (((engine.name, engine.role), engine.state == "running") for engine in engines),
    )
    yield _counter(
        "netbond_engine_restarts",
        "How often the engine was started again.",
        _ENGINE,
        (((engine.name, engine.role), engine.restarts) for engine in engines),
    )
    yield _counter(
        "netbond_engine_hung",
        "How often the engine was ended because it hung.",
        _ENGINE,
        (((engine.name, engine.role), engine.hung) for engine in engines),
    )
    yield _gauge(
        "netbond_engine_info",
        "How the engine was built; always 1.",
        (*_ENGINE, "flavour"),
        (
            ((engine.name, engine.role, engine.stats.flavour), 1)
            for engine in engines
            if engine.stats is not None and engine.stats.flavour
        ),
    )
    senders = [(engine.name, e) for engine in engines if isinstance(e := engine.stats, SenderStatistics)]
    yield from _senders(senders)
    yield from _sender_links(senders)
    yield from _receivers([engine for engine in engines if engine.role == "receiver"])


def _senders(senders: Sequence[tuple[str, SenderStatistics]]) -> Iterator[Metric]:
    engine = ("engine",)
    yield _gauge(
        "netbond_sender_connected",
        "Whether the receiver has accepted at least one link.",
        engine,
        (((name,), stats.state == "connected") for name, stats in senders),
    )
    yield _counter(
        "netbond_sender_packets",
        "Packets taken from the SRT caller.",
        engine,
        (((name,), stats.packets) for name, stats in senders),
    )
    yield _counter(
        "netbond_sender_bytes",
        "Bytes taken from the SRT caller.",
        engine,
        (((name,), stats.bytes) for name, stats in senders),
    )
    yield _counter(
        "netbond_sender_retransmitted_packets",
        "Packets that the SRT caller sent again.",
        engine,
        (((name,), stats.retransmitted) for name, stats in senders),
    )
    yield _counter(
        "netbond_sender_resent_packets",
        "Packets that netbond sent again over another link.",
        engine,
        (((name,), stats.resent) for name, stats in senders),
    )
    yield _counter(
        "netbond_sender_dropped_packets",
        "Packets for which there was no link.",
        engine,
        (((name,), stats.dropped) for name, stats in senders),
    )
    yield _gauge(
        "netbond_sender_capacity_bits_per_second",
        "SRT payload that the links that are up can carry now, together; absent while unknown.",
        engine,
        (((name,), stats.capacity_bits_per_second) for name, stats in senders),
    )
    yield _gauge(
        "netbond_sender_advised_bits_per_second",
        "SRT payload that the encoder may send now; absent while there is no advice.",
        engine,
        (((name,), stats.advised_bits_per_second) for name, stats in senders),
    )
    yield _gauge(
        "netbond_sender_queued_seconds",
        "Time that the links take for all that waits; absent while unknown.",
        engine,
        (((name,), _times(stats.queued_ms, 0.001)) for name, stats in senders),
    )


def _sender_links(senders: Sequence[tuple[str, SenderStatistics]]) -> Iterator[Metric]:
    links = [
        ((name, link.label, link.device, link.address), link)
        for name, stats in senders
        for link in stats.links
    ]
    yield _gauge(
        "netbond_link_up",
        "Whether the receiver has accepted the link and answers over it.",
        _LINK,
        ((labels, link.state == "up") for labels, link in links),
    )
    yield _gauge(
        "netbond_link_window",
        "The link's window, in thousandths of a packet.",
        _LINK,
        ((labels, link.window) for labels, link in links),
    )
    yield _gauge(
        "netbond_link_in_flight",
        "Packets sent over the link and not acknowledged.",
        _LINK,
        ((labels, link.in_flight) for labels, link in links),
    )
    yield _gauge(
        "netbond_link_rtt_seconds",
        "Smoothed round trip time of the link; absent while unknown.",
        _LINK,
        ((labels, _times(link.rtt_ms, 0.001)) for labels, link in links),
    )
    yield _gauge(
        "netbond_link_silent_seconds",
        "Time since the receiver was last heard on the link; absent if never.",
        _LINK,
        ((labels, _times(link.silent_ms, 0.001)) for labels, link in links),
    )
    yield _counter(
        "netbond_link_packets",
        "Packets sent over the link.",
        _LINK,
        ((labels, link.packets) for labels, link in links),
    )
    yield _counter(
        "netbond_link_bytes",
        "Bytes sent over the link.",
        _LINK,
        ((labels, link.bytes) for labels, link in links),
    )
    yield _counter(
        "netbond_link_lost_packets",
        "Data packets that the link lost.",
        _LINK,
        ((labels, link.lost) for labels, link in links),
    )
    yield _gauge(
        "netbond_link_capacity_bits_per_second",
        "SRT payload that the link can carry now, as measured last; absent while unknown.",
        _LINK,
        ((labels, link.capacity_bits_per_second) for labels, link in links),
    )


def _receivers(receivers: Sequence[EngineStatus]) -> Iterator[Metric]:
    told = [(e.name, stats) for e in receivers if isinstance(stats := e.stats, ReceiverStatistics)]
    counts = dict.fromkeys((engine.name for engine in receivers), 0)
    counts |= {name: len(stats.groups) for name, stats in told}
    peers = [
        ((name, group.id, peer.peer), peer)
        for name, stats in told
        for group in stats.groups
        for peer in group.links
    ]
    yield _gauge(
        "netbond_receiver_groups",
        "Senders (link groups) that the receiver serves.",
        ("engine",),
        (((name,), count) for name, count in counts.items()),
    )
    yield _counter(
        "netbond_receiver_refused",
        "Requests and packets that the receiver did not accept.",
        ("engine", "reason"),
        (((name, reason), count) for name, stats in told for reason, count in stats.refused.items()),
    )
    yield _counter(
        "netbond_peer_packets",
        "Data packets received over a sender's link.",
        _PEER,
        ((labels, peer.packets) for labels, peer in peers),
    )
    yield _counter(
        "netbond_peer_bytes",
        "Bytes received over a sender's link.",
        _PEER,
        ((labels, peer.bytes) for labels, peer in peers),
    )
    yield _gauge(
        "netbond_peer_idle_seconds",
        "Time since the link was last heard.",
        _PEER,
        ((labels, peer.idle_s) for labels, peer in peers),
    )


def _streams(engines: Sequence[EngineStatus], totals: StreamTotals) -> Iterator[Metric]:
    """A receiver's streams by name: a group's id and a sender's addresses are others at each connection."""
    receivers = [(e.name, stats) for e in engines if isinstance(stats := e.stats, ReceiverStatistics)]
    streams = totals.look(receivers)
    # Of two groups with one name, the one that carries more comes first, and counts.
    groups = [
        (name, group)
        for name, stats in receivers
        for group in stats.groups
        if (name, group.stream) in streams
    ]
    links = [
        ((name, group.stream, str(link.sender.link)), link.sender)
        for name, group in groups
        for link in group.links
        if link.sender is not None and 0 <= link.sender.link <= _MAX_LINK
    ]
    yield _gauge(
        "netbond_sender_stream",
        "The name of the stream that the sender carries; always 1.",
        _STREAM,
        (
            ((engine.name, engine.stats.stream), 1)
            for engine in engines
            if isinstance(engine.stats, SenderStatistics) and engine.stats.stream
        ),
    )
    yield _counter(
        "netbond_stream_packets",
        "SRT packets received of the stream, over all links.",
        _STREAM,
        ((labels, stream.packets) for labels, stream in streams.items()),
    )
    yield _counter(
        "netbond_stream_bytes",
        "Bytes received of the stream, over all links.",
        _STREAM,
        ((labels, stream.bytes) for labels, stream in streams.items()),
    )
    yield _counter(
        "netbond_stream_lost_packets",
        "Packets that the SRT server missed and asked for again.",
        _STREAM,
        ((labels, stream.lost) for labels, stream in streams.items()),
    )
    yield _counter(
        "netbond_stream_dropped_packets",
        "Packets that the SRT server gave up: holes in the stream.",
        _STREAM,
        ((labels, stream.dropped) for labels, stream in streams.items()),
    )
    yield _gauge(
        "netbond_stream_live",
        "Whether packets of the stream come and the SRT server acknowledges them.",
        _STREAM,
        (((name, group.stream), group.live) for name, group in sorted(groups, key=lambda g: not g[1].live)),
    )
    yield _gauge(
        "netbond_stream_bits_per_second",
        "What the stream carried in the last second.",
        _STREAM,
        ((labels, stream.bitrate_bps) for labels, stream in streams.items()),
    )
    yield _gauge(
        "netbond_stream_rtt_seconds",
        "Round trip time to the SRT caller, as the SRT server tells it; absent while unknown.",
        _STREAM,
        (((name, group.stream), _times(group.rtt_ms, 0.001)) for name, group in groups),
    )
    yield _gauge(
        "netbond_stream_loss_ratio",
        "Share of its packets that its links lost over the last 10 s, 0 to 1; absent while unknown.",
        _STREAM,
        (((name, group.stream), _times(group.loss_pct, 0.01)) for name, group in groups),
    )
    yield _gauge(
        "netbond_stream_links",
        "Links of the stream.",
        _STREAM,
        ((labels, stream.links) for labels, stream in streams.items()),
    )
    yield _gauge(
        "netbond_stream_link_rtt_seconds",
        "Round trip time of a link, as the sender tells it.",
        _STREAM_LINK,
        ((labels, _times(sender.rtt_ms, 0.001)) for labels, sender in links),
    )
    yield _counter(
        "netbond_stream_link_lost_packets",
        "Packets that a link lost, as the sender tells it.",
        _STREAM_LINK,
        ((labels, sender.naks) for labels, sender in links),
    )
    yield _gauge(
        "netbond_stream_link_in_flight",
        "Packets in flight on a link, as the sender tells it.",
        _STREAM_LINK,
        ((labels, sender.in_flight) for labels, sender in links),
    )
    yield _gauge(
        "netbond_stream_link_bits_per_second",
        "What the sender sends over a link.",
        _STREAM_LINK,
        ((labels, sender.bitrate_bps) for labels, sender in links),
    )


# --- serving them ------------------------------------------------------------------------------------------


class MetricsServer:
    """Serves the metrics of `snapshot()` at http://HOST:PORT/metrics from a thread, until `stop()`.

    `snapshot` is called in that thread: it should do no more than return the latest snapshot (None if there
    is none yet), which is not to be changed afterwards. So is `advice`, for /advice: a line for each sender.
    """

    def __init__(
        self, host: str, port: int, snapshot: Callable[[], Snapshot | None], advice: Advice = dict
    ) -> None:
        collectors = CollectorRegistry()
        collectors.register(SnapshotCollector(snapshot))

        class Handler(MetricsHandler):
            registry = collectors

            def do_GET(self) -> None:  # noqa: N802 - a name of http.server
                if self.path.partition("?")[0] != "/advice":
                    super().do_GET()
                else:
                    send_json(self, json.dumps(to_json(AdvicePage(VERSION, advice()))).encode())

        self._server = HttpServer(HostPort(host, port), Handler, "metrics")

    @property
    def port(self) -> int:
        """The port in use, once started; the same as given unless that was 0."""
        return self._server.port

    def start(self) -> None:
        """Listen; UnavailableError if the port is taken or the address is not one of this box.

        No reason for an agent to stop: routing goes first.
        """
        self._server.start("choose another address with agent.metrics")

    def stop(self) -> None:
        """Stop listening. May be called without start()."""
        self._server.stop()
