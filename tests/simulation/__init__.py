"""Whole bonds in simulated time: no sockets and no waiting, but seconds of computing."""
