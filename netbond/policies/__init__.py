"""Policies: which traffic leaves by which uplinks, in tiers ([[policy]])."""
