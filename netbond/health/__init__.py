"""Dead-gateway detection: does an uplink lead anywhere, asked through that uplink itself.

`judge` decides, `effect` says what that means for routing, `targets` and `packets` are the words in which is
asked; none of these does I/O. `probes` and `neighbour` ask, `monitor` runs them. docs/health.md explains.
"""
