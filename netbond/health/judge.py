"""Whether an uplink leads anywhere: a state machine per uplink, fed with the answers of its checks. Pure.

Time is an argument (seconds of any clock that does not jump), and so is randomness (a number in [0, 1)).

The uplink has a chain of checks. A check asks all its targets at once: that is a round, and it is good if any
target answers. While one check of the chain fails, those behind it are not asked: they could not pass.

    unknown ── every check has passed once ─────────────────────▶ up
    any     ── down_after rounds of one check failed in a row ──▶ down
    down    ── up_after rounds of every check good in a row,
               since it went down, and the hold-down is over ───▶ up
    up ◀──▶ degraded: it answers, but with loss, late, or not from all targets

Hold-down: the first outage in `flap_memory` costs nothing more. From the second on, an uplink that answers
again is still taken for down for `hold_down` seconds, twice as long at each further outage, `hold_down_max`
at most. An outage during the hold-down counts like any other. So an uplink that comes and goes stays away,
and one that has behaved for `flap_memory` has a clean record.

With other checks or thresholds (the configuration was changed) the verdict stays until answers change it:
what is known of checks that stay is kept, and what is down is not used again before the new ones have passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from netbond.config.schema import CheckConfig, HealthConfig
from netbond.model import IPAddress

UNKNOWN = "unknown"  # nothing is known yet: usable
UP = "up"
DEGRADED = "degraded"  # usable, and worth a look
DOWN = "down"

WINDOW = 20  # answers of each target over which loss is counted
ENOUGH = 10  # answers before loss is spoken of
SUSPICIOUS = 4  # times faster are the rounds while it is open which way things go
NEAR = 1.0  # seconds at least between rounds that only ask the neighbour
SMOOTHING = 1 / 8  # the share of a new round-trip time in the smoothed one (as in RFC 6298)

# What an SRTLA link that hears its receiver proves. It proves neither that names resolve nor that no portal
# stands in the way of others, so dns and http are always asked.
PROVEN_BY_TRAFFIC = frozenset({"gateway", "icmp", "tcp"})


class Outcome(Enum):
    """What became of one question."""

    ANSWERED = "answered"
    FAILED = "failed"
    SKIPPED = "skipped"  # does not apply to this uplink: a name without address of its family, no ARP there
    LOCAL = "local"  # could not be asked, for a reason on this box: says nothing about the uplink


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
class Health:
    """The verdict on one uplink. `since` is when `state` was entered, by the clock of the judge."""

    device: str
    address: IPAddress
    state: str = UNKNOWN
    reason: str = ""
    since: float = 0.0
    checks: tuple[CheckHealth, ...] = ()

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.address.version


@dataclass(slots=True)
class _Target:
    """What one target has answered lately."""

    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    silent: int = 0  # rounds in a row without answer
    rtt: float | None = None

    def add(self, answer: Answer) -> None:
        answered = answer.outcome is Outcome.ANSWERED
        self.recent.append(answered)
        self.silent = 0 if answered else self.silent + 1
        if answered and answer.rtt is not None:
            self.rtt = answer.rtt if self.rtt is None else self.rtt + SMOOTHING * (answer.rtt - self.rtt)


@dataclass(slots=True)
class _Check:
    config: CheckConfig
    due: float
    fails: int = 0  # failed rounds in a row
    goods: int = 0  # good rounds in a row, since the uplink went down if it did
    passed: bool = False  # ever, since the start
    counted: float = float("-inf")  # when a round was last counted
    detail: str = ""
    targets: dict[str, _Target] = field(default_factory=dict)

    @property
    def fast(self) -> float:
        return self.config.interval / SUSPICIOUS

    def loss(self, down_after: int) -> float | None:
        """The share of answers missing, of the targets that answer at all."""
        recent = [ok for t in self.targets.values() if t.silent < down_after for ok in t.recent]
        return recent.count(False) / len(recent) if len(recent) >= ENOUGH else None

    def rtt(self) -> float | None:
        """The smoothed round-trip time of the fastest target that answers."""
        return min((t.rtt for t in self.targets.values() if t.rtt is not None and not t.silent), default=None)

    def degraded(self, policy: HealthConfig) -> str:
        """Why it is worse than it should be; "" if it is not."""
        name = self.config.name
        silent = [text for text, target in self.targets.items() if target.silent >= policy.down_after]
        if silent:
            return (
                f"{name}: no answer from {', '.join(silent)} ({len(silent)} of {len(self.targets)} targets)"
            )
        loss = self.loss(policy.down_after)
        if loss is not None and loss * 100 > policy.degraded_loss:
            return f"{name}: {loss:.0%} of the last answers missing"
        rtt = self.rtt()
        if rtt is not None and 0 < policy.degraded_rtt < rtt:
            return f"{name}: answers take {rtt:.1f} s"
        return ""


class Judge:
    """The state machine of one uplink.

    The caller asks due() when each check is to be asked next, asks it, and hands the answers to round(); it
    calls advance() when release() has come. Each of these may change what due() says of the other checks.
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
        self._outages: deque[float] = deque(maxlen=32)  # when each began: more would not lengthen the hold
        self._state = UNKNOWN
        self._since = now
        self._checks: list[_Check] = []
        self._inherited = False  # whether the state is that of other checks, some of which are new
        self.restart(now, random)

    def restart(self, now: float, random: float) -> None:
        """Forget the answers (the link was away) but not the outages; the state is unknown again."""
        self._checks = [_Check(check, due=_soon(check, now, random)) for check in self._chain]
        self._inherited = False
        self._out = False  # by the checks alone, without the hold-down
        self._held_until = now
        self._held_reason = ""
        self._reason = ""
        self._update(now)

    def reconfigure(
        self, chain: Sequence[CheckConfig], policy: HealthConfig, now: float, random: float
    ) -> None:
        """Go on with these checks and this policy; the uplink is the same, and so is the verdict for now."""
        known = {check.config.name: check for check in self._checks}
        self._chain, self.policy = tuple(chain), policy
        self._checks = []
        for config in self._chain:
            before = known.get(config.name)
            if before is not None and before.config == config:
                self._checks.append(before)
                continue
            check = _Check(config, due=_soon(config, now, random))
            if self._out and before is not None:  # it is down for that: until the first answer, no less
                check.fails, check.detail = before.fails, before.detail
            self._checks.append(check)
        self._inherited = True
        if not self._checks:
            self._out, self._held_until, self._inherited = False, now, False
        self._settle(now)
        self._update(now)

    # --- what happens ------------------------------------------------------------------------------------

    def round(self, name: str, answers: Iterable[Answer], now: float, random: float) -> None:
        """The check `name` has asked all its targets."""
        check = self._find(name)
        answers = list(answers)
        telling = [a for a in answers if a.outcome in (Outcome.ANSWERED, Outcome.FAILED)]
        answered = next((a for a in telling if a.outcome is Outcome.ANSWERED), None)
        for answer in telling:
            check.targets.setdefault(answer.target, _Target()).add(answer)
        if answered is not None:
            self._good(check, answered.detail, now)
        elif telling:
            check.fails += 1
            check.goods = 0
            check.counted = now
            check.detail = "; ".join(dict.fromkeys(a.detail or f"{a.target}: no answer" for a in telling))
        elif any(a.outcome is Outcome.LOCAL for a in answers):
            check.detail = answers[0].detail  # neither good nor bad
        else:
            self._good(check, answers[0].detail if answers else "", now)
        self._settle(now)
        self._schedule(check, now, random)
        self._update(now)

    def evidence(self, *, ok: bool, detail: str, now: float, random: float) -> None:
        """What an SRTLA link over this uplink says: it hears its receiver, or it sends and hears nothing.

        A good word counts as a round of the checks that it proves, and saves them their next one. A bad word
        only brings the next rounds forward: the receiver may be what is dead.
        """
        if not ok:
            self.hasten(now)
        for check in self._checks if ok else ():
            spaced = now - check.counted >= check.fast
            if check.config.kind in PROVEN_BY_TRAFFIC:
                if check.fails or spaced:
                    self._good(check, detail, now)
                if not self._open(check) and not check.degraded(self.policy):
                    check.due = max(check.due, self._later(check.config.interval, now, random))
        self._settle(now)
        self._update(now)

    def hasten(self, now: float) -> None:
        """There is reason to think that the next rounds will say something new: not to wait for them.

        Those that cost a data plan nothing are asked sooner after the last one than the others.
        """
        for check in self._checks:
            spacing = min(check.fast, NEAR) if check.config.kind == "gateway" else check.fast
            check.due = min(check.due, max(now, check.counted + spacing))

    def advance(self, now: float) -> None:
        """Time has passed: a hold-down may be over."""
        self._update(now)

    # --- what to do --------------------------------------------------------------------------------------

    def due(self, name: str) -> float | None:
        """When the check is to be asked next; None while a check before it in the chain fails."""
        for check in self._checks:
            if check.config.name == name:
                return check.due
            if check.fails:
                return None
        raise KeyError(name)

    def release(self) -> float | None:
        """When the hold-down ends, if it is what keeps the uplink down."""
        return self._held_until if self._state == DOWN and not self._out else None

    def health(self) -> Health:
        """The verdict as of the last call."""
        failing = False
        shown = []
        for check in self._checks:
            state = "waiting" if failing or not (check.fails or check.passed) else "ok"
            if check.fails and not failing:
                state = "failing"
                failing = True
            loss = check.loss(self.policy.down_after)
            shown.append(CheckHealth(check.config.name, state, check.rtt(), loss, check.detail))
        return Health(self.device, self.address, self._state, self._reason, self._since, tuple(shown))

    # --- how ---------------------------------------------------------------------------------------------

    def _find(self, name: str) -> _Check:
        return next(check for check in self._checks if check.config.name == name)

    def _good(self, check: _Check, detail: str, now: float) -> None:
        check.fails = 0
        check.goods += 1
        check.passed = True
        check.counted = now
        check.detail = detail

    def _later(self, interval: float, now: float, random: float) -> float:
        return now + interval * (1 + self.policy.jitter * (2 * random - 1))

    def _open(self, check: _Check) -> bool:
        """Whether one more round may change the state: then it is asked sooner."""
        if self._out:
            return not check.fails and check.goods < self.policy.up_after
        return 0 < check.fails < self.policy.down_after or not check.passed

    def _schedule(self, check: _Check, now: float, random: float) -> None:
        check.due = self._later(check.fast if self._open(check) else check.config.interval, now, random)

    def _settle(self, now: float) -> None:
        """Go down, or come back, by the checks alone."""
        policy = self.policy
        if not self._out:
            if any(check.fails >= policy.down_after for check in self._checks):
                self._out = True
                self._outages.append(now)
                for check in self._checks:
                    check.goods = 0
        elif all(check.goods >= policy.up_after for check in self._checks):
            self._out = False
            hold = self._hold(now)
            self._held_until = now + hold
            self._held_reason = (
                f"answers again, but had {len(self._outages)} outages in {self.policy.flap_memory:g} s:"
                f" held down for {hold:g} s"
            )
            for check in self._checks:
                check.targets.clear()  # what was lost in the outage is not loss
        if self._out:
            # What was good before the outage proves nothing now: whatever is next in the chain is asked soon.
            for check in self._checks:
                if check.fails:
                    break
                if check.goods == 0:
                    check.due = min(check.due, now)

    def _hold(self, now: float) -> float:
        policy = self.policy
        while self._outages and now - self._outages[0] > policy.flap_memory:
            self._outages.popleft()
        further = len(self._outages) - 1
        return min(policy.hold_down * 2 ** (further - 1), policy.hold_down_max) if further > 0 else 0.0

    def _update(self, now: float) -> None:
        state, self._reason = self._judge(now)
        if state != self._state:
            self._state, self._since = state, now

    def _judge(self, now: float) -> tuple[str, str]:
        failing = next((check for check in self._checks if check.fails), None)
        reason = "" if failing is None else f"{failing.config.name}: {failing.detail}"
        if self._out:
            if failing is None:
                reason = "answers again, not yet often enough"
            return DOWN, reason
        if now < self._held_until:
            return DOWN, self._held_reason
        if failing is not None:
            reason += f" ({failing.fails} of {self.policy.down_after})"
        if not self._checks:
            return UNKNOWN, "nothing is checked"
        if not all(check.passed for check in self._checks):
            inherited = self._inherited and self._state in (UP, DEGRADED)
            return self._state if inherited else UNKNOWN, reason or "not checked yet"
        if failing is not None:
            return self._state if self._state in (UP, DEGRADED) else UP, reason
        degraded = next((why for check in self._checks if (why := check.degraded(self.policy))), "")
        return (DEGRADED, degraded) if degraded else (UP, "")


def _soon(check: CheckConfig, now: float, random: float) -> float:
    """When a check that is new is asked first: those of many uplinks not at the same moment."""
    return now + random * min(1.0, check.interval)
