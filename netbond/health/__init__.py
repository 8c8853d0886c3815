"""Dead-gateway detection: whether an uplink leads anywhere, tested through that uplink itself.

`judge` decides and `packets` builds and reads the packets of probes, both without I/O. `probes` and `arp_nd`
send them, `monitor` runs the checks. docs/health.md explains them.
"""
