"""When an uplink is up, degraded or down: stories told answer by answer, and what holds in every story."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.schema import CheckConfig, HealthConfig
from netbond.health.judge import (
    DEGRADED,
    DOWN,
    LONGEST_DETAIL,
    UNKNOWN,
    UP,
    Answer,
    Judge,
    Outcome,
)

ADDRESS = ipaddress.ip_address("10.0.0.10")
GATEWAY = CheckConfig("gateway", "gateway", interval=4.0)
ICMP = CheckConfig("icmp", "icmp", ("a", "b"), interval=4.0)
HTTP = CheckConfig("http", "http", ("w",), interval=40.0)
POLICY = HealthConfig(
    down_after=3, up_after=2, jitter=0, hold_down=10, hold_down_max=60, flap_memory=300, degraded_rtt=1.0
)
MIDDLE = 0.5  # the random number without jitter


def yes(*targets: str, rtt: float = 0.02) -> list[Answer]:
    """All these answer."""
    return [Answer(target, Outcome.ANSWERED, rtt) for target in targets or ("g",)]


def no(*targets: str) -> list[Answer]:
    """None of these answers."""
    return [Answer(target, Outcome.FAILED, None, f"{target}: silence") for target in targets or ("g",)]


def judge(*chain: CheckConfig, policy: HealthConfig = POLICY) -> Judge:
    """A judge that begins at 0."""
    return Judge("usb0", ADDRESS, chain, policy, 0.0, MIDDLE)


def feed(of: Judge, name: str, rounds: Iterable[list[Answer]], start: float, step: float = 1.0) -> float:
    """Rounds of one check, `step` seconds apart; when the next would be."""
    for answers in rounds:
        of.round(name, answers, start, MIDDLE)
        start += step
    return start


# Each letter is a round of the gateway check, one second apart: + good, - failed; below it the state then:
# ? unknown, U up, D down.
@pytest.mark.parametrize(
    ("rounds", "states"),
    [
        ("+", "U"),
        ("-", "?"),
        ("---", "??D"),
        ("--+--", "??UUU"),
        ("+--+--+", "UUUUUUU"),
        ("+---", "UUUD"),
        ("+---+", "UUUDD"),
        ("+---++", "UUUDDU"),
        ("+---+-++", "UUUDDDDU"),
        ("+---+-+-+-+", "UUUDDDDDDDD"),
        # The second outage: held for 10 s after the second good round.
        ("---++---++++++++++", "??DDUUUDDDDDDDDDDD"),
        ("---++---+++++++++++++", "??DDUUU" + "D" * 12 + "UU"),
        # An outage during the hold-down is the third: held for 20 s from its end.
        ("---++---++---" + "+" * 22, "??DDUUUDDDDDD" + "D" * 21 + "U"),
    ],
)
def test_stories(rounds: str, states: str) -> None:
    of = judge(GATEWAY)
    letters = {UNKNOWN: "?", UP: "U", DOWN: "D"}
    seen = ""
    for second, letter in enumerate(rounds):
        of.round("gateway", yes() if letter == "+" else no(), float(second), MIDDLE)
        seen += letters[of.health().state]
    assert seen == states


def test_reason_and_time() -> None:
    of = judge(GATEWAY)
    assert (of.health().state, of.health().reason) == (UNKNOWN, "not checked yet")
    of.round("gateway", yes(), 1.0, MIDDLE)
    assert (of.health().state, of.health().reason, of.health().since) == (UP, "", 1.0)
    of.round("gateway", no(), 2.0, MIDDLE)
    assert (of.health().state, of.health().reason) == (UP, "gateway: g: silence (1 of 3)")
    assert of.health().since == 1.0
    feed(of, "gateway", [no(), no()], 3.0)
    assert (of.health().state, of.health().reason, of.health().since) == (DOWN, "gateway: g: silence", 4.0)
    of.round("gateway", yes(), 5.0, MIDDLE)
    assert of.health().reason == "answers again, not yet often enough"


def test_one_target_that_answers_is_enough() -> None:
    of = judge(ICMP)
    feed(of, "icmp", [yes("a") + no("b"), yes("b") + no("a")] * 10, 0.0)
    assert of.health().state == DEGRADED
    assert of.health().reason == "icmp: 50% of the last answers missing"
    feed(of, "icmp", [yes("a") + no("b")] * 20, 20.0)
    assert of.health().reason == "icmp: no answer from b (1 of 2 targets)"
    assert (of.health().state, of.health().poor) == (DEGRADED, False)  # of the target's quality, it may be
    feed(of, "icmp", [no("a", "b")] * 3, 40.0)
    assert of.health().state == DOWN
    assert of.health().reason == "icmp: a: silence; b: silence"


def test_loss_is_spoken_of_after_ten_answers_and_forgotten_after_twenty() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [no(), yes(), yes()] * 3, 0.0)
    assert of.health().state == UP
    at = feed(of, "gateway", [yes()], 9.0)
    assert of.health().state == DEGRADED
    assert of.health().reason == "gateway: 30% of the last answers missing"
    assert of.health().poor
    at = feed(of, "gateway", [yes()] * 5, at)  # 3 of 15 is 20 %, which is not enough to enter ...
    assert of.health().state == DEGRADED  # ... and too much to leave: that takes half
    feed(of, "gateway", [yes()] * 10, at)  # 2 of 20
    assert (of.health().state, of.health().poor) == (UP, False)


def test_late_answers() -> None:
    of = judge(ICMP)
    feed(of, "icmp", [yes("a", rtt=3.0) + yes("b", rtt=0.3)], 0.0)
    assert of.health().state == UP  # the nearest target tells of the uplink, the other of the way behind it
    feed(of, "icmp", [yes("a", "b", rtt=3.0)] * 12, 1.0)
    assert of.health().state == DEGRADED
    assert "answers take 2." in of.health().reason
    assert of.health().poor
    feed(of, "icmp", [yes("a", "b", rtt=0.05)] * 20, 20.0)
    assert of.health().state == UP


def test_an_srtla_link_shows_loss_and_delay_too() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [yes()], 0.0)
    for second in range(1, 7):
        assert of.health().state == UP
        of.measure(0.3, 0.1, second)
    assert (of.health().state, of.health().poor) == (DEGRADED, True)
    assert of.health().reason == "stream: 30% of the last packets missing"
    feed(of, "gateway", [yes()], 14.0)  # nobody says more of the link
    assert of.health().state == UP
    for second in range(20, 27):
        of.measure(None, 1.1, second)
    assert of.health().reason == "stream: answers take 1.1 s"
    of.measure(None, 0.1, 34.0)
    assert (of.health().state, of.release()) == (DEGRADED, 44.0)  # for the second time: held
    of.advance(44.0)
    assert (of.health().state, of.release()) == (UP, None)
    feed(of, "gateway", [no()] * 3, 50.0)
    for second in range(60, 70):
        of.measure(0.3, 0.1, second)
    assert (of.health().state, of.health().poor) == (DOWN, False)


def test_a_silent_target_says_nothing_of_loss_and_delay() -> None:
    """It may have been taken down; the others tell how the uplink is."""
    of = judge(ICMP)
    feed(of, "icmp", [yes("a", rtt=0.02) + yes("b", rtt=0.4)] * 2 + [no("a") + yes("b", rtt=0.4)] * 9, 0.0)
    (check,) = of.health().checks
    assert check.loss == 0
    assert check.rtt == pytest.approx(0.4)


def test_an_outage_is_not_loss_afterwards() -> None:
    of = judge(GATEWAY)
    at = feed(of, "gateway", [yes()] + [no()] * 15 + [yes()] * 12, 0.0)
    assert of.health().state == UP
    assert of.health().checks[0].loss == 0
    assert at == 28


def test_behind_a_check_that_fails_nothing_is_asked() -> None:
    of = judge(GATEWAY, HTTP)
    assert of.due("http") is not None
    of.round("gateway", no(), 0.0, MIDDLE)
    assert of.due("http") is None
    assert of.due("gateway") == 1.0  # a quarter of 4 s: suspicious
    of.round("gateway", yes(), 1.0, MIDDLE)
    assert of.due("http") is not None
    with pytest.raises(KeyError):
        of.due("dns")


def test_up_again_only_when_the_whole_chain_has_passed_since_the_outage() -> None:
    of = judge(GATEWAY, HTTP)
    of.round("gateway", yes(), 0.0, MIDDLE)
    assert of.health().state == UNKNOWN
    of.round("http", yes("w"), 0.0, MIDDLE)
    assert of.health().state == UP
    feed(of, "gateway", [no()] * 3, 1.0)
    feed(of, "gateway", [yes()] * 9, 10.0)
    assert of.health().state == DOWN
    assert of.due("http") == 10.0  # not at its leisure: since the gateway is back it is what is waited for
    of.round("http", yes("w"), 20.0, MIDDLE)
    assert of.due("http") == 30.0
    of.round("http", yes("w"), 30.0, MIDDLE)
    assert of.health().state == UP


def test_portal_behind_a_gateway_that_answers() -> None:
    of = judge(GATEWAY, HTTP)
    of.round("gateway", yes(), 0.0, MIDDLE)
    feed(of, "http", [no("w")] * 3, 0.0)
    health = of.health()
    assert (health.state, health.reason) == (DOWN, "http: w: silence")
    assert [(c.name, c.state) for c in health.checks] == [("gateway", "ok"), ("http", "failing")]
    feed(of, "gateway", [no()], 4.0)
    assert [(c.name, c.state) for c in of.health().checks] == [("gateway", "failing"), ("http", "waiting")]


# --- when to ask -------------------------------------------------------------------------------------------


def test_intervals() -> None:
    of = judge(GATEWAY)
    assert of.due("gateway") == 0.5  # soon, spread over the first second
    of.round("gateway", yes(), 1.0, MIDDLE)
    assert of.due("gateway") == 5.0
    of.round("gateway", no(), 5.0, MIDDLE)
    assert of.due("gateway") == 6.0  # suspicious
    feed(of, "gateway", [no(), no()], 6.0)
    assert of.due("gateway") == 11.0  # down is down: at leisure
    of.round("gateway", yes(), 11.0, MIDDLE)
    assert of.due("gateway") == 12.0  # coming back
    of.round("gateway", yes(), 12.0, MIDDLE)
    assert of.due("gateway") == 16.0


@pytest.mark.parametrize(("random", "due"), [(0.0, 3.6), (0.5, 4.0), (0.999999, 4.4)])
def test_jitter(random: float, due: float) -> None:
    of = judge(GATEWAY, policy=replace(POLICY, jitter=0.1))
    of.round("gateway", yes(), 0.0, random)
    assert of.due("gateway") == pytest.approx(due, abs=1e-4)


def test_hold_down_doubles_up_to_its_limit_and_is_forgotten() -> None:
    of = judge(GATEWAY)
    now, holds = 0.0, []
    for _ in range(6):
        now = feed(of, "gateway", [no()] * 3 + [yes()] * 2, now)
        release = of.release()
        holds.append(0.0 if release is None else release - (now - 1))
        if release is not None:
            assert of.health().state == DOWN
            assert "outages in 300 s: held down for" in of.health().reason
            of.advance(release)
            now = release + 1
        assert of.health().state == UP
    assert holds == [0, 10, 20, 40, 60, 60]
    now = feed(of, "gateway", [no()] * 3 + [yes()] * 2, now + 300)
    assert of.health().state == UP


def test_a_link_that_was_away_starts_anew_but_its_outages_are_remembered() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [no()] * 3 + [yes()] * 2 + [no()] * 3, 0.0)
    of.restart(10.0, MIDDLE)
    assert (of.health().state, of.due("gateway")) == (UNKNOWN, 10.5)
    feed(of, "gateway", [yes()], 10.5)
    assert of.health().state == UP
    feed(of, "gateway", [no()] * 3 + [yes()] * 2, 11.0)
    assert of.release() == 15.0 + 20.0


# --- other checks ------------------------------------------------------------------------------------------


def test_what_is_down_stays_down_until_the_new_checks_have_passed() -> None:
    of = judge(GATEWAY, ICMP)
    feed(of, "gateway", [yes()] * 3, 0.0)
    feed(of, "icmp", [no("a", "b")] * 3, 0.0)
    assert of.health().state == DOWN
    since, reason = of.health().since, of.health().reason
    faster = replace(ICMP, interval=1.0)
    of.reconfigure((GATEWAY, faster, HTTP), replace(POLICY, down_after=9), 10.0, MIDDLE)
    assert (of.health().state, of.health().since, of.health().reason) == (DOWN, since, reason)
    assert of.due("icmp") == 10.5
    feed(of, "icmp", [yes("a", "b")] * 2, 11.0)
    feed(of, "gateway", [yes()] * 2, 13.0)
    feed(of, "http", [yes("w")], 15.0)
    assert of.health().state == DOWN
    feed(of, "http", [yes("w")], 16.0)
    assert of.health().state == UP


def test_without_the_check_that_failed_the_others_decide() -> None:
    of = judge(GATEWAY, ICMP)
    feed(of, "gateway", [yes()], 0.0)
    feed(of, "icmp", [no("a", "b")] * 3, 0.0)
    of.reconfigure((GATEWAY,), POLICY, 10.0, MIDDLE)
    assert of.health().state == DOWN
    feed(of, "gateway", [yes()] * 2, 11.0)
    assert of.health().state == UP
    feed(of, "gateway", [no()] * 3, 13.0)
    assert of.health().state == DOWN
    of.reconfigure((), POLICY, 20.0, MIDDLE)
    assert (of.health().state, of.health().reason) == (UNKNOWN, "nothing is checked")


def test_what_is_up_stays_up_until_a_new_check_says_otherwise() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [yes()], 0.0)
    of.reconfigure((GATEWAY, HTTP), POLICY, 10.0, MIDDLE)
    assert of.health().state == UP
    feed(of, "http", [no("w")] * 2, 11.0)
    assert of.health().state == UP
    feed(of, "http", [no("w")], 13.0)
    assert of.health().state == DOWN
    of.restart(20.0, MIDDLE)  # its link was away: now nothing is known
    assert of.health().state == UNKNOWN


def test_another_policy_counts_from_now_on() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [yes()] + [no()] * 2, 0.0)
    assert of.health().state == UP
    of.reconfigure((GATEWAY,), replace(POLICY, down_after=2), 4.0, MIDDLE)
    assert of.health().state == DOWN


def test_a_hold_down_is_kept() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [no()] * 3 + [yes()] * 2 + [no()] * 3 + [yes()] * 2, 0.0)
    assert of.release() == 19.0
    of.reconfigure((replace(GATEWAY, interval=1.0),), POLICY, 12.0, MIDDLE)
    assert (of.health().state, of.release()) == (DOWN, 19.0)


# --- answers that say nothing ------------------------------------------------------------------------------


def test_what_does_not_apply_passes_and_what_could_not_be_asked_says_nothing() -> None:
    skipped, local = Answer("x", Outcome.SKIPPED), Answer("x", Outcome.LOCAL, None, "too many open files")
    of = judge(ICMP)
    feed(of, "icmp", [[local]] * 5, 0.0)
    assert of.health().state == UNKNOWN
    feed(of, "icmp", [[skipped]], 5.0)
    assert of.health().state == UP
    feed(of, "icmp", [[*no("a"), skipped]] * 2 + [[local]] * 5 + [[*no("a"), local]], 6.0)
    assert of.health().state == DOWN
    feed(of, "icmp", [[local]] * 9, 20.0)
    assert of.health().state == DOWN


def test_no_checks() -> None:
    of = judge()
    assert (of.health().state, of.health().reason) == (UNKNOWN, "nothing is checked")
    of.evidence(ok=False, detail="", now=1.0, random=MIDDLE)
    assert of.health().state == UNKNOWN


# --- what the SRTLA links hear -----------------------------------------------------------------------------


def test_a_good_word_saves_the_next_round() -> None:
    of = judge(GATEWAY)
    of.round("gateway", yes(), 0.0, MIDDLE)
    for second in range(1, 20):
        of.evidence(ok=True, detail="SRTLA", now=float(second), random=MIDDLE)
        assert of.due("gateway") == second + 4.0


def test_a_good_word_counts_as_a_round() -> None:
    of = judge(GATEWAY, ICMP)
    of.evidence(ok=True, detail="SRTLA", now=0.0, random=MIDDLE)
    assert of.health().state == UP
    feed(of, "gateway", [no()] * 2, 1.0)
    of.evidence(ok=True, detail="SRTLA", now=3.0, random=MIDDLE)
    feed(of, "gateway", [no()] * 2, 4.0)
    assert of.health().state == UP  # it carries the stream: whoever is silent, it is not the uplink
    of.round("gateway", no(), 6.0, MIDDLE)
    assert of.health().state == DOWN


def test_good_words_bring_it_back_no_faster_than_rounds_would() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [no()] * 3, 0.0)
    for tenth in range(9):
        of.evidence(ok=True, detail="SRTLA", now=3 + tenth / 10, random=MIDDLE)
        assert of.health().state == DOWN
    of.evidence(ok=True, detail="SRTLA", now=4.0, random=MIDDLE)
    assert of.health().state == UP


def test_a_good_word_says_nothing_of_portals() -> None:
    of = judge(GATEWAY, HTTP)
    of.round("gateway", yes(), 0.0, MIDDLE)
    feed(of, "http", [no("w")] * 3, 0.0)
    for second in range(100):
        of.evidence(ok=True, detail="SRTLA", now=3.0 + second, random=MIDDLE)
    assert of.health().state == DOWN


def test_the_gateway_is_asked_again_sooner_than_others() -> None:
    of = judge(replace(GATEWAY, interval=100.0), replace(ICMP, interval=100.0))
    for name in ("gateway", "icmp"):
        of.round(name, yes(), 0.0, MIDDLE)
    of.ask_soon(0.5)
    assert (of.due("gateway"), of.due("icmp")) == (1.0, 25.0)
    of.ask_soon(30.0)
    assert (of.due("gateway"), of.due("icmp")) == (1.0, 25.0)
    of.round("gateway", yes(), 30.0, MIDDLE)
    of.ask_soon(50.0)
    assert of.due("gateway") == 50.0


def test_a_bad_word_brings_the_next_round_forward_and_no_more() -> None:
    of = judge(GATEWAY)
    of.round("gateway", yes(), 0.0, MIDDLE)
    of.evidence(ok=False, detail="silent", now=0.5, random=MIDDLE)
    assert of.due("gateway") == 1.0  # it was asked a moment ago
    of.round("gateway", yes(), 1.0, MIDDLE)
    of.evidence(ok=False, detail="silent", now=3.0, random=MIDDLE)
    assert of.due("gateway") == 3.0
    for second in range(2, 50):
        of.evidence(ok=False, detail="silent", now=float(second), random=MIDDLE)
        of.round("gateway", yes(), float(second), MIDDLE)
    assert of.health().state == UP


def test_good_words_do_not_hide_that_it_is_degraded() -> None:
    of = judge(GATEWAY)
    feed(of, "gateway", [yes(), no()] * 10 + [yes()], 0.0)
    assert of.health().state == DEGRADED
    due = of.due("gateway")
    of.evidence(ok=True, detail="SRTLA", now=21.0, random=MIDDLE)
    assert of.due("gateway") == due
    feed(of, "gateway", [yes()] * 20, 22.0)
    assert of.health().state == UP


# --- every story -------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["gateway+", "gateway-", "icmp+", "icmp-", "icmp/", "good", "bad", "advance"]),
        st.floats(0.05, 30),
        st.floats(0, 0.999),
    ),
    max_size=120,
)


@settings(deadline=None)  # the machine may be busy
@given(EVENTS)
def test_in_every_story(events: list[tuple[str, float, float]]) -> None:
    of = Judge("usb0", ADDRESS, [GATEWAY, ICMP], POLICY, 0.0, 0.3)
    now, failures = 0.0, {"gateway": 0, "icmp": 0}
    before, held = of.health(), of.release()
    for event, pause, random in events:
        now += pause
        name, sign = event[:-1], event[-1]
        if name in failures:
            targets = ("a", "b") if name == "icmp" else ("g",)
            answers = no(*targets) if sign == "-" else yes(*targets)
            if sign == "/":
                answers = yes("a") + no("b")
            of.round(name, answers, now, random)
            failures[name] = failures[name] + 1 if sign == "-" else 0
        elif event == "advance":
            of.advance(now)
        else:
            of.evidence(ok=event == "good", detail="SRTLA", now=now, random=random)
            if event == "good":
                failures = dict.fromkeys(failures, 0)
        health = of.health()
        # Down by three failed rounds in a row of one check, and by nothing else.
        if health.state == DOWN and before.state != DOWN:
            assert max(failures.values()) >= POLICY.down_after
            assert event in ("gateway-", "icmp-")
        if max(failures.values()) >= POLICY.down_after:
            assert health.state == DOWN
        # A failure or a bad word does not bring it back, unless a hold-down was all that kept it.
        if before.state == DOWN and health.state != DOWN and event in ("gateway-", "icmp-", "bad"):
            assert held is not None
            assert now >= held
        assert health.since == (before.since if health.state == before.state else now)
        assert health.reason or health.state == UP
        release = of.release()
        assert release is None or now < release <= now + POLICY.hold_down_max
        # Something is always due, or nobody would ever ask again; and never in the distant future.
        due = of.due("gateway")
        assert due is not None
        assert due <= now + GATEWAY.interval * 1.5
        before, held = health, release
    # However it went: with everything answering it is usable again, within the longest hold-down.
    for _ in range(40):
        now += 2.0
        of.round("gateway", yes(), now, 0.5)
        of.round("icmp", yes("a", "b"), now, 0.5)
    assert of.health().state in (UP, DEGRADED)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 6), st.integers(1, 6), st.lists(st.booleans(), max_size=80))
def test_thresholds_by_counting(down_after: int, up_after: int, rounds: list[bool]) -> None:
    """Without hold-down the state is a matter of counting, done here once more in another way."""
    policy = replace(POLICY, down_after=down_after, up_after=up_after, hold_down=0, degraded_loss=100)
    of = judge(GATEWAY, policy=policy)
    history = ""
    down = False
    for second, good in enumerate(rounds):
        of.round("gateway", yes() if good else no(), float(second), MIDDLE)
        history += "+" if good else "-"
        down = not history.endswith("+" * up_after) if down else history.endswith("-" * down_after)
        assert (of.health().state == DOWN) == down


def test_what_all_targets_say_together_is_one_line_of_bounded_length() -> None:
    of = judge(ICMP)
    of.round("icmp", [Answer(t, Outcome.FAILED, None, f"{t}: {'x' * 290}") for t in "abcdefgh"], 1.0, MIDDLE)
    (check,) = of.health().checks
    assert len(check.detail) == LONGEST_DETAIL
    assert check.detail.startswith("a: xxx")
    assert check.detail.endswith("…")
    assert of.health().reason == f"icmp: {check.detail} (1 of 3)"


# --- one of several gateways -------------------------------------------------------------------------------


def spare(*chain: CheckConfig, returns: bool = True) -> Judge:
    """A gateway that waits: only the gateway check can be asked by it."""
    of = judge(*chain)
    of.set_role(
        [check.name for check in chain if check.kind != "gateway"], returns=returns, wanted=False, now=0.0
    )
    return of


def test_a_gateway_that_waits_is_judged_by_what_can_be_asked() -> None:
    of = spare(GATEWAY, HTTP)
    assert of.due("http") is None
    assert of.due("gateway") is not None
    feed(of, "gateway", [yes()], 1.0)
    assert of.health().state == UP
    now = feed(of, "gateway", [no()] * 3, 2.0)
    assert (of.health().state, of.health().answers) == (DOWN, False)
    feed(of, "gateway", [yes()] * 2, now)
    assert of.health().answers
    assert of.health().state == DOWN  # held


def test_a_gateway_that_would_take_over_is_held_down_also_the_first_time() -> None:
    of = judge(GATEWAY)
    now = feed(of, "gateway", [yes(), no(), no(), no()], 1.0)
    of.set_role((), returns=True, wanted=False, now=now)
    now = feed(of, "gateway", [yes(), yes()], now)
    assert of.release() == now - 1 + POLICY.hold_down
    of.advance(now + POLICY.hold_down)
    assert of.health().state == UP
    # The second outage in the memory holds twice as long.
    now = feed(of, "gateway", [no()] * 3 + [yes()] * 2, now + POLICY.hold_down)
    assert of.release() == now - 1 + 2 * POLICY.hold_down


def test_the_one_in_use_fails_while_the_better_one_is_held_down() -> None:
    of = judge(GATEWAY)
    now = feed(of, "gateway", [yes(), no(), no(), no()], 1.0)
    of.set_role((), returns=True, wanted=False, now=now)
    now = feed(of, "gateway", [yes(), yes()], now)
    assert of.health().state == DOWN
    of.set_role((), returns=False, wanted=False, now=now)  # it is used at once
    assert of.health().state == UP


def test_what_took_a_gateway_out_of_use_keeps_it_out_until_it_is_asked_again() -> None:
    of = judge(GATEWAY, HTTP)
    feed(of, "gateway", [yes()], 1.0)
    now = feed(of, "http", [yes("w"), no("w"), no("w"), no("w")], 2.0)
    of.set_role(["http"], returns=True, wanted=False, now=now)
    now = feed(of, "gateway", [yes()] * 9, now) + 1000
    of.advance(now)
    assert (of.health().state, of.health().answers) == (DOWN, True)
    assert of.health().reason.startswith("http: ")
    of.set_role((), returns=False, wanted=False, now=now)
    assert of.due("http") is not None
    feed(of, "http", [yes("w")] * 2, now)
    assert of.health().state == UP


def test_when_nothing_works_a_gateway_is_tried_again_whatever_was_found_of_it() -> None:
    of = judge(GATEWAY, HTTP)
    feed(of, "gateway", [yes()], 1.0)
    now = feed(of, "http", [yes("w"), no("w"), no("w"), no("w")], 2.0)
    of.set_role(["http"], returns=False, wanted=True, now=now)
    feed(of, "gateway", [yes()] * 2, now)
    assert of.health().state == UP


def test_a_check_that_failed_beside_the_gateway_does_not_keep_it_out() -> None:
    of = judge(GATEWAY, HTTP)
    feed(of, "gateway", [yes()], 1.0)
    now = feed(of, "http", [yes("w"), no("w")], 2.0)
    now = feed(of, "gateway", [no()] * 3, now)
    of.set_role(["http"], returns=True, wanted=False, now=now)
    now = feed(of, "gateway", [yes()] * 2, now)
    of.advance(now + POLICY.hold_down)
    assert of.health().state == UP
