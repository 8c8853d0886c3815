"""Reads and checks the configuration file."""
