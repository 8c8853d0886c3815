"""What the kernel holds: routes, rules, nexthops, settings, and names for `ip`."""
