"""The kernel's routes, rules, nexthops and settings, and the names that `ip` shows for them."""
