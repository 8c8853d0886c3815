"""What policies remember, counted in packets on each uplink: sticky clients, and a better tier's return."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import wait_for
from tests.netns.test_policies import FAR, Policies

pytestmark = pytest.mark.root

BY_FLOW = "[sysctl]\nmultipath_hash = 'flows'\n"
MANY = 16  # new connections: one in 30,000 times two uplinks get none of them by chance


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Policies]:
    with Policies(tmp_path) as box:
        box.prepare()
        yield box


def test_a_sticky_client_stays_on_its_uplink_with_new_connections(box: Policies) -> None:
    all_three = 'uplinks = [["usb0", "usb1", "usb2"]]\n'
    box.policy(f'port = 9\nsticky = "10min"\n{all_three}', more=BY_FLOW)
    assert not any("nft" in line for line in box.status()["agent"]["problems"])
    for source in (2, 3):
        first = box.both(lan=True, source=source, count=1)
        for _ in range(2):
            assert box.both(lan=True, source=source, count=MANY) == first
    # Other traffic, and the box's own, is shared out.
    assert " " in box.send(FAR, lan=True, port=10, count=MANY)
    assert " " in box.send(FAR, count=MANY)
    # The memory outlives a change of the table.
    before = box.both(lan=True, count=1)
    other = ({0, 1, 2} - {int(each[3]) for each in before}).pop()
    box.lose(other)
    wait_for(lambda: f"dev usb{other}" not in box.table(222), 5, "the table is another one")
    assert box.both(lan=True, count=MANY) == before
    # Without its uplink a client gets another one, and stays there.
    box.regain(other)
    lost = int(before[0][3])
    box.lose(lost)
    wait_for(lambda: f"dev usb{lost}" not in box.table(222), 5, "it has gone")
    after = box.send(FAR, lan=True, count=1)
    assert after not in ("", before[0])
    box.regain(lost)
    wait_for(lambda: f"dev usb{lost}" in box.table(222), 5, "it is back")
    assert box.send(FAR, lan=True, count=MANY) == after


@pytest.mark.parametrize(("failback", "known"), [("keep", "usb1"), ("drain", "usb0")])
def test_where_new_connections_of_a_sticky_client_go_when_the_better_tier_is_back(
    box: Policies, failback: str, known: str
) -> None:
    box.policy(f'uplinks = ["usb0", "usb1"]\nsticky = "10min"\nfailback = "{failback}"', more=BY_FLOW)
    box.lose(0)
    wait_for(lambda: box.tier() == [2, 2], 5, "tier 2")
    assert box.both(lan=True) == ("usb1", "usb1")
    box.regain(0)
    wait_for(lambda: box.tier() == [1, 1], 5, "tier 1")
    assert box.both(lan=True) == (known, known)
    assert box.both(lan=True, source=3) == ("usb0", "usb0")  # a client that is new
    assert box.both() == ("usb0", "usb0")  # the box itself
