"""Runs programs of others: bound to an uplink, as checks, and as hooks."""
