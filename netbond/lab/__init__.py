"""Emulated modems in network namespaces: for people without hardware, for the tests and the bench."""
