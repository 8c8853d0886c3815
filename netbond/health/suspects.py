"""Decides whether an uplink is dead because an SRTLA receiver is heard over other uplinks, but not over it.

Pure: time is an argument, and so is randomness (a number in [0, 1)).

A modem whose radio is gone answers ARP for ever. A running sender notices: the link over that uplink is
silent, while others hear the same receiver. The engine is untrusted, so that makes the uplink only suspect.
Then the agent itself asks, in rounds:

- the receiver through the suspect uplink, by an SRTLA REG2 with a random id, which every receiver answers;
- the same through another uplink, the control: a receiver that answers nobody proves nothing;
- the receiver's host, by an ICMP echo through the suspect uplink: if only SRTLA is filtered there, all other
  traffic gets through.

    silence through the suspect, an answer through the control, down_after times in a row ─▶ down
    the same, but the echo is answered, or a check that asks on the internet passes ─▶ blocked: only the
        bond's traffic is known not to pass, and the uplink stays in use for all other
    the receiver answers through the suspect, or the link hears it, up_after times ─▶ as before

How failures and successes count, and the hold-down of an uplink that comes and goes, are those of all checks
(netbond.health.judge).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from netbond.config.schema import CheckConfig, HealthConfig
from netbond.config.values import HostPort
from netbond.health.judge import DOWN, Answer, CheckHealth, Judge, Outcome, UplinkHealth
from netbond.health.report import Key
from netbond.health.stream_evidence import Hearing, LinkKey
from netbond.model import IPAddress

NAME = "receiver"  # what reasons and status call it
SUSPECT = "suspect"  # a state of UplinkHealth: in use, and about to be down if nothing speaks for it

NEWS_S = 5.0  # how long a sender's statistics count; they come once a second
HEARD_S = 2.0  # an uplink is not suspect for so long after a link of any sender has heard over it
JOIN_S = 3.0  # that a link may take to register
JITTER_S = 0.5  # most that a first round waits, so that several uplinks do not ask at once
SPACING_S = 1.0  # least from the start of one round of an uplink to the next
MOST_ROUNDS = 4  # under way at a time, of all uplinks
# Until the next round, first and longest; doubled each time:
INCONCLUSIVE_S = (2.0, 30.0)  # the control did not answer either, or this box could not ask
ANSWERED_S = (10.0, 120.0)  # the receiver answers, though the link is silent
BLOCKED_S = (30.0, 300.0)
DOWN_S = (10.0, 30.0)  # the link's own attempts, one a second, usually tell first that it is back
DOWN_UNCONFIRMED_S = 300.0  # a verdict ends that could not be confirmed for so long
SPREAD = 0.2  # the share by which these waits vary, either way


@dataclass(frozen=True, slots=True)
class Round:
    """What is to be asked now: `receiver` at `address`, through both uplinks."""

    suspect: Key
    control: Key
    receiver: HostPort
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is known of an uplink that is suspect, or `down` since it was.

    `blocked`: it is in use, but the bond's traffic does not pass. `reason` is one line.
    """

    down: bool
    reason: str
    since: float
    check: CheckHealth
    blocked: bool = False


class _Record:
    """What is known of one uplink."""

    def __init__(self, key: Key, policy: HealthConfig, now: float) -> None:
        chain = (CheckConfig(NAME, "srtla", interval=DOWN_S[0], timeout=policy.timeout),)
        self.judge = Judge(*key[:2], chain, policy, now, 0.0)
        self.heard_at = -math.inf  # when a sender last said that its link hears
        self.joining_since: float | None = None  # since when a sender's link tries to register
        self.accused_at = -math.inf  # when a sender last said that this link is silent and others hear
        self.receiver: tuple[HostPort, IPAddress] | None = None
        self.due = now
        self.began = -math.inf  # the last round
        self.asking = False
        self.unanswered = 0  # rounds in a row in which only the control got an answer
        self.unanswered_since = now  # when the first of them ended
        self.confirmed_at = now  # when such a round last ended
        self.waits = 0  # rounds with the same outcome in a row, which lengthens the wait
        self.outcome = ""
        self.blocked = ""
        self.through = ""  # the uplink that got an answer instead, in the first of these rounds

    @property
    def down(self) -> bool:
        return self.judge.state == DOWN

    def acquit(self) -> None:
        """Only the verdict may be left to speak against it."""
        self.unanswered, self.blocked = 0, ""

    def heard(self, now: float) -> None:
        """A link hears over it: the next silence is another one."""
        self.acquit()
        self.heard_at, self.joining_since, self.waits = now, None, 0
        if not self.down:
            self.due = self.began + NEWS_S

    def wait(self, outcome: str, bounds_s: tuple[float, float], now: float, random: float) -> None:
        self.waits = self.waits + 1 if outcome == self.outcome else 0
        self.outcome = outcome
        first, longest = bounds_s
        self.due = now + min(first * 2.0 ** min(self.waits, 16), longest) * (1 + SPREAD * (2 * random - 1))


class Suspects:
    """The uplinks of the box, as the senders' links and the agent's own probes of their receivers show them.

    The caller passes on what senders hear, gets from rounds() what to ask, and passes the answers to
    answered(). next_due() is when to call rounds() again.
    """

    def __init__(self, policy: HealthConfig) -> None:
        self._policy = policy
        self._records: dict[Key, _Record] = {}
        self._working: Collection[Key] = ()
        self._in_use: dict[LinkKey, Key] = {}

    def set_uplinks(
        self, uplinks: Mapping[Key, bool], in_use: Iterable[Key], receivers: Collection[HostPort], now: float
    ) -> None:
        """Take the uplinks that may be suspect, and whether the other checks say that they work.

        An uplink with several gateways is there once for each, and only that `in_use` can be asked. The
        verdict on another one stays until it runs out. What is known of uplinks that are not there is
        forgotten, and so is what another receiver than these has shown.
        """
        self._working = frozenset(key for key, works in uplinks.items() if works)
        self._in_use = {}
        for key in in_use:
            if key in uplinks:
                self._in_use.setdefault(key[:2], key)
        self._records = {
            key: record
            for key, record in self._records.items()
            if key in uplinks and (record.receiver is None or record.receiver[0] in receivers)
        }
        for key in uplinks.keys() - self._records.keys():
            self._records[key] = _Record(key, self._policy, now)

    def hear(
        self,
        links: Iterable[Hearing],
        receiver: HostPort,
        addresses: Collection[IPAddress],
        now: float,
        random: float,
    ) -> None:
        """Take what the links of a running sender hear of its receiver.

        `addresses` are the receiver's, as the agent has found them. The engine may name the one that a link
        uses, but cannot have any other asked.
        """
        links = [link for link in links if link.key in self._in_use]
        hearing = {link.receiver for link in links if link.hears}
        for link in links:
            record = self._records[self._in_use[link.key]]
            if link.hears:
                if record.down or record.unanswered:
                    record.judge.evidence(ok=True, detail="its link hears it", now=now, random=random)
                record.heard(now)
                continue
            if record.joining_since is None or link.joined:
                record.joining_since = None if link.joined else now
            joining_s = now - record.joining_since if record.joining_since is not None else 0.0
            if now - record.heard_at < HEARD_S or not (link.hears is False or joining_s >= JOIN_S):
                continue
            address = _address(link, addresses)
            if link.receiver not in hearing or address is None:
                continue  # nobody hears it: no uplink is to blame
            if now - record.accused_at > NEWS_S and not record.down:
                record.due = max(record.due, now + random * JITTER_S)
            record.accused_at, record.receiver = now, (receiver, address)

    def advance(self, now: float) -> None:
        """Let time pass: hold-downs end, and so do verdicts that nobody can confirm."""
        for record in self._records.values():
            record.judge.advance(now)
            lasts = record.down and record.judge.release() is None  # it is no hold-down
            if lasts and now - record.confirmed_at > DOWN_UNCONFIRMED_S:
                record.judge.restart(now, 0.0)
                record.acquit()

    # --- what to ask ---------------------------------------------------------------------------------------

    def rounds(self, now: float, random: Callable[[], float]) -> list[Round]:
        """What is to be asked now; each of these is under way until answered() is called with it."""
        found: list[Round] = []
        room = MOST_ROUNDS - sum(record.asking for record in self._records.values())
        for key, record in sorted(self._records.items(), key=lambda item: item[1].due):
            if len(found) >= room:
                break
            if record.due > now or not self._wanted(key, record, now) or record.receiver is None:
                continue
            controls = self._controls(key, now)
            if not controls:
                continue
            control = controls[int(random() * len(controls))]
            record.asking, record.began = True, now
            found.append(Round(key, control, *record.receiver))
        return found

    def next_due(self, now: float) -> float | None:
        """When the next round is due; None: as far as is known now, none is."""
        return min(
            (
                max(record.due, now)
                for key, record in self._records.items()
                if self._wanted(key, record, now) and self._controls(key, now)
            ),
            default=None,
        )

    def _wanted(self, key: Key, record: _Record, now: float) -> bool:
        """Whether asking through this uplink may change something."""
        if record.asking or key not in self._working or self._in_use.get(key[:2]) != key:
            return False
        return record.down or now - record.accused_at <= NEWS_S

    def _controls(self, key: Key, now: float) -> list[Key]:
        """The uplinks whose answers show that the receiver is there: those whose link hears it, if any."""
        others = {
            other: record
            for other in self._in_use.values()
            if (record := self._records[other]) is not self._records[key]
            and other in self._working
            and other[1].version == key[1].version
            and not record.down
            and not record.unanswered
            and now - record.accused_at > NEWS_S
        }
        return [other for other, record in others.items() if now - record.heard_at <= NEWS_S] or list(others)

    # --- what was answered ---------------------------------------------------------------------------------

    def answered(
        self,
        of: Round,
        suspect: Answer,
        control: Answer,
        echo: Answer,
        now: float,
        random: float,
        *,
        proven: bool,
    ) -> None:
        """Take the answers of a round. `proven`: a check that asks something on the internet passes."""
        record = self._records.get(of.suspect)
        if record is None or not record.asking:
            return  # forgotten meanwhile
        record.asking = False
        was_down = record.down
        if suspect.outcome is Outcome.ANSWERED:
            record.acquit()
            record.judge.round(NAME, [suspect], now, random)
            record.wait("answered", (SPACING_S, SPACING_S) if was_down else ANSWERED_S, now, random)
        elif suspect.outcome is not Outcome.FAILED or control.outcome is not Outcome.ANSWERED:
            record.wait("inconclusive", INCONCLUSIVE_S, now, random)
        else:
            if not record.unanswered:
                # The first of them stays: another name each time would be another problem each time.
                record.unanswered_since, record.through = now, of.control[0]
            record.unanswered += 1
            record.confirmed_at = now
            leads_out = proven or echo.outcome is Outcome.ANSWERED
            why = f"{suspect.detail}, but through {record.through}"
            outcome = Outcome.ANSWERED if leads_out else Outcome.FAILED
            record.judge.round(NAME, [Answer(suspect.target, outcome, None, why)], now, random)
            if leads_out and record.unanswered >= self._policy.down_after:
                way = "a check on the internet passes" if proven else "the receiver's host answers ICMP"
                record.blocked = (
                    f"only streams are blocked: no answer from {of.receiver} to SRTLA, but through"
                    f" {record.through}; {way}"
                )
            if record.down:
                bounds = (SPACING_S, SPACING_S) if leads_out else DOWN_S
                record.wait("down", bounds, now, random)
            elif record.blocked and leads_out:
                record.wait("blocked", BLOCKED_S, now, random)
            else:
                record.wait("open", (0.0, 0.0), now, random)
        record.due = max(record.due, record.began + SPACING_S + random * JITTER_S)

    def suspicions(self) -> Mapping[Key, Suspicion]:
        """The uplinks that are suspect, blocked for the bond, or down."""
        found = {}
        for key, record in self._records.items():
            if not (record.down or record.unanswered):
                continue
            health = record.judge.health()
            reason = record.blocked if record.blocked and not record.down else health.reason
            (check,) = health.checks
            shown = CheckHealth(NAME, check.state, None, None, check.detail)
            since = health.since if record.down else record.unanswered_since
            found[key] = Suspicion(record.down, reason, since, shown, bool(record.blocked))
        return found


def with_suspicion(health: UplinkHealth, found: Suspicion | None) -> UplinkHealth:
    """The verdict of an uplink's checks, with what its streams have shown."""
    if found is None:
        return health
    checks = (*health.checks, found.check)
    if health.state == DOWN:
        return replace(health, checks=checks)
    if found.down:
        return replace(health, checks=checks, state=DOWN, reason=found.reason, since=found.since, poor=False)
    if found.blocked:
        return replace(health, checks=checks, reason=health.reason or found.reason)
    return replace(health, checks=checks, state=SUSPECT, reason=found.reason, since=found.since, poor=False)


def _address(link: Hearing, addresses: Collection[IPAddress]) -> IPAddress | None:
    """The receiver's address to ask: the one that the link uses, if the agent knows it too."""
    own = [address for address in addresses if address.version == link.key[1].version]
    return next((address for address in own if str(address) == link.receiver), own[0] if own else None)
