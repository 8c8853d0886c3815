"""Decides from the answers of checks whether an uplink leads anywhere: a state machine per uplink. Pure.

Time is an argument (seconds of a clock that does not jump), and so is randomness (a number in [0, 1)).

The uplink has a chain of checks. A check asks all its targets at once. That is a round, and it is good if any
target answers. While one check of the chain fails, those behind it are not asked: they could not pass.

    unknown ── every check has passed once ─────────────────────▶ up
    any     ── down_after rounds of one check failed in a row ──▶ down
    down    ── up_after rounds of every check good in a row,
               since it went down, and the hold-down is over ───▶ up
    up ◀──▶ degraded: it answers, but with loss, late, or not from all targets

Hold-down: the first outage in `flap_memory` has no further effect. From the second on, an uplink that answers
again still counts as down for `hold_down` seconds, and twice as long after each further outage, at most
`hold_down_max`. An outage during the hold-down counts like any other. So a flapping uplink stays out of use,
and one without an outage for `flap_memory` starts with a clean record.

An uplink with several gateways has a state machine for each (netbond.gateways). Those that wait to be used
are asked less, and one that would take over again is held down also after its first outage.

When checks or thresholds change (another configuration), the verdict stays until answers change it. What is
known of checks that stay is kept. An uplink that is down is not used before the new checks have passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from netbond.config.schema import CheckConfig, HealthConfig
from netbond.health.quality import LinkFigures, Measured, Quality
from netbond.model import IPAddress
from netbond.system.text import counted, printable

UNKNOWN = "unknown"  # nothing is known yet: usable
UP = "up"
DEGRADED = "degraded"  # usable, and worth a look
DOWN = "down"

LOSS_WINDOW = 20  # answers of each target, over which loss is measured
LOSS_MIN_ANSWERS = 10  # with fewer, loss is unknown
FAST_FACTOR = 4  # rounds are faster by this while the next one may change the state
GATEWAY_SPACING_S = 1.0  # least time between two rounds of a gateway check, which costs no data
LONGEST_DETAIL = 400  # characters of what all targets of a check say together
RTT_SMOOTHING = 1 / 8  # the share of a new round-trip time in the smoothed one (as in RFC 6298)

# The kinds of checks that an SRTLA link proves if it hears its receiver. It does not prove that names
# resolve, or that there is no captive portal, so dns and http are always asked.
PROVEN_BY_TRAFFIC = frozenset({"gateway", "icmp", "tcp", "srtla"})


class Outcome(Enum):
    """The outcome of asking one target once."""

    ANSWERED = "answered"
    FAILED = "failed"
    SKIPPED = "skipped"  # does not apply to this uplink: a name without address of its family, no ARP
    LOCAL = "local"  # failed for a reason on this box, which says nothing about the uplink


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of asking one target once; `rtt` in seconds, `detail` one printable line."""

    target: str
    outcome: Outcome
    rtt: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """One check as status shows it."""

    name: str
    state: str  # "ok", "failing", "waiting" (no answer yet, or a check before it fails)
    rtt: float | None = None  # seconds, smoothed, of the target that answers fastest
    loss: float | None = None  # share of the last answers missing, 0..1
    detail: str = ""


@dataclass(frozen=True, slots=True)
class UplinkHealth:
    """The verdict on one uplink. `since` is when `state` was entered, by the clock of the judge."""

    device: str
    address: IPAddress
    state: str = UNKNOWN
    reason: str = ""
    since: float = 0.0
    checks: tuple[CheckHealth, ...] = ()
    gateway: IPAddress | None = None  # the one that was checked
    spare: bool = False  # the uplink uses another gateway
    answers: bool = True  # False: the gateway itself does not
    poor: bool = False  # degraded by loss or delay

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.address.version


@dataclass(slots=True)
class _TargetRecord:
    """The latest answers of one target."""

    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=LOSS_WINDOW))
    silent: int = 0  # rounds in a row without answer
    rtt: float | None = None

    def add(self, answer: Answer) -> None:
        answered = answer.outcome is Outcome.ANSWERED
        self.recent.append(answered)
        self.silent = 0 if answered else self.silent + 1
        if answered and answer.rtt is not None:
            self.rtt = answer.rtt if self.rtt is None else self.rtt + RTT_SMOOTHING * (answer.rtt - self.rtt)


@dataclass(slots=True)
class _CheckRecord:
    config: CheckConfig
    due: float
    failures: int = 0  # failed rounds in a row
    successes: int = 0  # good rounds in a row, since the uplink went down if it did
    passed: bool = False  # ever, since the start
    counted_at: float = float("-inf")  # when a round last counted
    detail: str = ""
    targets: dict[str, _TargetRecord] = field(default_factory=dict)

    @property
    def fast(self) -> float:
        return self.config.interval / FAST_FACTOR

    def loss(self, down_after: int) -> float | None:
        """The share of answers missing, of the targets that answer at all."""
        recent = [ok for t in self.targets.values() if t.silent < down_after for ok in t.recent]
        return recent.count(False) / len(recent) if len(recent) >= LOSS_MIN_ANSWERS else None

    def rtt(self) -> float | None:
        """The smoothed round-trip time of the fastest target that answers."""
        return min((t.rtt for t in self.targets.values() if t.rtt is not None and not t.silent), default=None)

    def degraded(self, policy: HealthConfig) -> str:
        """Which of its targets do not answer, while others do; "" if there is none."""
        name = self.config.name
        silent = [text for text, target in self.targets.items() if target.silent >= policy.down_after]
        if silent:
            targets = counted(len(self.targets), "target")
            return f"{name}: no answer from {', '.join(silent)} ({len(silent)} of {targets})"
        return ""

    def measured(self, policy: HealthConfig) -> Measured:
        """Loss and round-trip time."""
        return Measured(self.config.name, self.loss(policy.down_after), self.rtt())


class Judge:
    """The state machine of one uplink.

    The caller gets from due() when each check must be asked next, asks it, and passes the answers to round().
    It calls advance() at the time that release() gives. Each of these calls may change due() of all checks.
    """

    def __init__(
        self,
        device: str,
        address: IPAddress,
        chain: Sequence[CheckConfig],
        policy: HealthConfig,
        now: float,
        random: float,
    ) -> None:
        self.device = device
        self.address = address
        self.policy = policy
        self._chain = tuple(chain)
        # When each outage began. More of them would not lengthen the hold-down.
        self._outages: deque[float] = deque(maxlen=32)
        self._state = UNKNOWN
        self._since = now
        self._checks: list[_CheckRecord] = []
        self._quality = Quality()
        self._link = LinkFigures()
        self._inherited = False  # whether the state comes from earlier checks, and some of these are new
        self._unasked: frozenset[str] = frozenset()
        self._returns = False
        self.restart(now, random)

    def restart(self, now: float, random: float) -> None:
        """Forget the answers (the link was away) but not the outages; the state is unknown again."""
        self._checks = [_CheckRecord(check, due=_soon(check, now, random)) for check in self._chain]
        self._inherited = False
        self._failed = False  # down by the checks alone, without the hold-down
        self._held_until = now
        self._held_reason = ""
        self._reason = ""
        self._update(now)

    def reconfigure(
        self, chain: Sequence[CheckConfig], policy: HealthConfig, now: float, random: float
    ) -> None:
        """Go on with these checks and this policy. The uplink is the same, and for now its verdict too."""
        known = {check.config.name: check for check in self._checks}
        self._chain, self.policy = tuple(chain), policy
        self._checks = []
        for config in self._chain:
            before = known.get(config.name)
            if before is not None and before.config == config:
                self._checks.append(before)
                continue
            check = _CheckRecord(config, due=_soon(config, now, random))
            if self._failed and before is not None:  # it is down by that check, until the first answer
                check.failures, check.detail = before.failures, before.detail
            self._checks.append(check)
        self._inherited = True
        if not self._checks:
            self._failed, self._held_until, self._inherited = False, now, False
        self._settle(now)
        self._update(now)

    def set_role(self, unasked: Collection[str], *, returns: bool, wanted: bool, now: float) -> None:
        """Judge one of several gateways of an uplink as what it is now.

        `unasked` are the checks that cannot be asked by it while another gateway is in use. `returns`: it is
        better than that one, so once it is up, traffic moves to it. Then even its first outage has a
        hold-down: a router that starts answers before it leads anywhere. `wanted`: the one in use is down, so
        what an unasked check has found some time ago is no reason not to try this one.
        """
        self._unasked = frozenset(unasked)
        if self._returns and not returns and len(self._outages) <= 1:
            self._held_until = min(self._held_until, now)
        self._returns = returns
        for check in self._checks:
            old = wanted or check.failures < self.policy.down_after  # or it took the gateway out of use
            if check.config.name in self._unasked and old:
                check.failures = 0
        self._settle(now)
        self._update(now)

    # --- what happens ------------------------------------------------------------------------------------

    def round(self, name: str, answers: Iterable[Answer], now: float, random: float) -> None:
        """The check `name` has asked all its targets."""
        check = self._find(name)
        answers = list(answers)
        relevant = [a for a in answers if a.outcome in (Outcome.ANSWERED, Outcome.FAILED)]
        answered = next((a for a in relevant if a.outcome is Outcome.ANSWERED), None)
        for answer in relevant:
            check.targets.setdefault(answer.target, _TargetRecord()).add(answer)
        if answered is not None:
            self._good(check, answered.detail, now)
        elif relevant:
            check.failures += 1
            check.successes = 0
            check.counted_at = now
            details = dict.fromkeys(a.detail or f"{a.target}: no answer" for a in relevant)
            check.detail = printable("; ".join(details), LONGEST_DETAIL)
        elif any(a.outcome is Outcome.LOCAL for a in answers):
            check.detail = answers[0].detail  # counts neither as good nor as failed
        else:
            self._good(check, answers[0].detail if answers else "", now)
        self._settle(now)
        self._schedule(check, now, random)
        self._update(now)

    def evidence(self, *, ok: bool, detail: str, now: float, random: float) -> None:
        """Take evidence of an SRTLA link over this uplink: it hears its receiver (`ok`), or only sends.

        Good evidence counts as a round of the checks that it proves, and postpones their next one. Bad
        evidence only brings the next rounds forward: the receiver itself may be dead.
        """
        if not ok:
            self.ask_soon(now)
        for check in self._checks if ok else ():
            spaced = now - check.counted_at >= check.fast
            if check.config.kind in PROVEN_BY_TRAFFIC:
                if check.failures or spaced:
                    self._good(check, detail, now)
                poor = check.degraded(self.policy) or self._quality.reason
                if not self._open(check) and not poor:
                    check.due = max(check.due, self._later(check.config.interval, now, random))
        self._settle(now)
        self._update(now)

    def measure(self, loss: float | None, rtt_s: float | None, now: float) -> None:
        """Take the loss (0 to 1) and round-trip time of an SRTLA link; once a second. None: not known."""
        self._link.add(loss, rtt_s, now)
        self._update(now)

    def ask_soon(self, now: float) -> None:
        """Bring the next rounds forward, as they will probably say something new.

        Gateway checks, which cost no data, may follow their last round sooner than the others.
        """
        for check in self._checks:
            spacing = min(check.fast, GATEWAY_SPACING_S) if check.config.kind == "gateway" else check.fast
            check.due = min(check.due, max(now, check.counted_at + spacing))

    def advance(self, now: float) -> None:
        """Let time pass: a hold-down may be over."""
        self._update(now)

    # --- what to do --------------------------------------------------------------------------------------

    def due(self, name: str) -> float | None:
        """When the check must be asked next; None while a check before it in the chain fails."""
        for check in self._checks:
            if check.config.name == name:
                return None if name in self._unasked else check.due
            if check.failures:
                return None
        raise KeyError(name)

    def release(self) -> float | None:
        """When the hold-down ends, if that alone keeps the uplink down or degraded; else None."""
        if self._state == DOWN:
            return None if self._failed else self._held_until
        return self._quality.held_until

    @property
    def state(self) -> str:
        """The state of the verdict as of the last call, without what health() makes of the checks."""
        return self._state

    def health(self, gateway: IPAddress | None = None, *, spare: bool = False) -> UplinkHealth:
        """The verdict as of the last call; `gateway` and `spare` are those of UplinkHealth."""
        failing = False
        shown = []
        for check in self._checks:
            state = "waiting" if failing or not (check.failures or check.passed) else "ok"
            if check.failures and not failing:
                state = "failing"
                failing = True
            loss = check.loss(self.policy.down_after)
            shown.append(CheckHealth(check.config.name, state, check.rtt(), loss, check.detail))
        answers = not any(check.config.kind == "gateway" and check.failures for check in self._checks)
        return UplinkHealth(
            self.device,
            self.address,
            self._state,
            self._reason,
            self._since,
            tuple(shown),
            gateway,
            spare,
            answers=answers,
            poor=self._state == DEGRADED and bool(self._quality.reason),
        )

    # --- how ---------------------------------------------------------------------------------------------

    def _find(self, name: str) -> _CheckRecord:
        return next(check for check in self._checks if check.config.name == name)

    def _good(self, check: _CheckRecord, detail: str, now: float) -> None:
        check.failures = 0
        check.successes += 1
        check.passed = True
        check.counted_at = now
        check.detail = detail

    def _later(self, interval: float, now: float, random: float) -> float:
        return now + interval * (1 + self.policy.jitter * (2 * random - 1))

    def _open(self, check: _CheckRecord) -> bool:
        """Whether one more round may change the state: then rounds are faster."""
        if self._failed:
            return not check.failures and check.successes < self.policy.up_after
        return 0 < check.failures < self.policy.down_after or not check.passed

    def _schedule(self, check: _CheckRecord, now: float, random: float) -> None:
        check.due = self._later(check.fast if self._open(check) else check.config.interval, now, random)

    def _settle(self, now: float) -> None:
        """Set `_failed` by the rounds of the checks alone, and begin a hold-down after an outage."""
        policy = self.policy
        if not self._failed:
            if any(check.failures >= policy.down_after for check in self._checks):
                self._failed = True
                self._outages.append(now)
                for check in self._checks:
                    check.successes = 0
        elif all(
            check.successes >= policy.up_after or (check.config.name in self._unasked and not check.failures)
            for check in self._checks
        ):
            self._failed = False
            hold = self._hold(now)
            self._held_until = now + hold
            outages = counted(len(self._outages), "outage")
            self._held_reason = (
                f"answers again, but had {outages} in {self.policy.flap_memory:g} s: held down for {hold:g} s"
            )
            for check in self._checks:
                check.targets.clear()  # answers missing in the outage do not count as loss
        if self._failed:
            # Good rounds before the outage prove nothing now: the next check in the chain is asked soon.
            for check in self._checks:
                if check.failures:
                    break
                if check.successes == 0:
                    check.due = min(check.due, now)

    def _hold(self, now: float) -> float:
        policy = self.policy
        while self._outages and now - self._outages[0] > policy.flap_memory:
            self._outages.popleft()
        further = len(self._outages) - (0 if self._returns else 1)
        return min(policy.hold_down * 2 ** (further - 1), policy.hold_down_max) if further > 0 else 0.0

    def _update(self, now: float) -> None:
        measured = [check.measured(self.policy) for check in self._checks]
        self._quality.judge([*measured, self._link.measured(now)], self.policy, now)
        state, self._reason = self._judge(now)
        if state != self._state:
            self._state, self._since = state, now

    def _judge(self, now: float) -> tuple[str, str]:
        failing = next((check for check in self._checks if check.failures), None)
        reason = "" if failing is None else f"{failing.config.name}: {failing.detail}"
        if self._failed:
            if failing is None:
                reason = "answers again, not yet often enough"
            return DOWN, reason
        if now < self._held_until:
            return DOWN, self._held_reason
        if failing is not None:
            reason += f" ({failing.failures} of {self.policy.down_after})"
        if not self._checks:
            return UNKNOWN, "nothing is checked"
        if not all(check.passed or check.config.name in self._unasked for check in self._checks):
            inherited = self._inherited and self._state in (UP, DEGRADED)
            return self._state if inherited else UNKNOWN, reason or "not checked yet"
        if failing is not None:
            return self._state if self._state in (UP, DEGRADED) else UP, reason
        silent = next((why for check in self._checks if (why := check.degraded(self.policy))), "")
        degraded = self._quality.reason or silent
        return (DEGRADED, degraded) if degraded else (UP, "")


def _soon(check: CheckConfig, now: float, random: float) -> float:
    """When a new check is asked first. Random, so that many uplinks are not asked at the same moment."""
    return now + random * min(1.0, check.interval)
