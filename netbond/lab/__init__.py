"""Emulated modems in network namespaces: for users without hardware, for the tests, and for the bench."""
