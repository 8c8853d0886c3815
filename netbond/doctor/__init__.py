"""Finds out what is wrong with a box and what mends it: one small function per check. Pure."""
