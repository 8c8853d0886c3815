"""The policy rules of all uplinks, and their priorities. Pure.

    0      local                            the kernel's
    40     oif DEVICE -> its table          a socket bound to a device is never judged by its address:
                                            two modems may hand out the very same one
    50     main suppress_prefixlength 0     connected and specific routes win; a default that a DHCP client
                                            put into main is harmless
    100..  from ADDRESS -> its table        at priority = table number
    222    all -> the ECMP table            what is bound to nothing is shared out
    32766  main                             the kernel's

Sources: ip-rule(8); Documentation/networking/policy-routing.txt of the kernel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from netbond.config import RoutingConfig
from netbond.model import MAIN_TABLE, Rule, Uplink


def rules(uplinks: Iterable[Uplink], routing: RoutingConfig) -> list[Rule]:
    """All rules of netbond's for these uplinks, by priority; none if there are no uplinks."""
    found: set[Rule] = set()
    for uplink in uplinks:
        family, protocol = uplink.address.version, routing.protocol
        found.add(
            Rule(
                routing.main_priority,
                family,
                table=MAIN_TABLE,
                suppress_prefixlength=0,
                protocol=protocol,
            )
        )
        found.add(Rule(routing.ecmp_priority, family, table=routing.ecmp_table, protocol=protocol))
        found.add(
            Rule(routing.oif_priority, family, table=uplink.table, oif=uplink.device, protocol=protocol)
        )
        for address in uplink.addresses:
            source = ipaddress.ip_network(address.interface.ip)
            found.add(Rule(uplink.table, family, table=uplink.table, source=source, protocol=protocol))
    return sorted(found, key=lambda rule: (rule.priority, rule.table, rule.oif, str(rule.source)))
