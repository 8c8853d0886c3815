"""Outputs: what the agent keeps right besides routes and rules, one file each."""
