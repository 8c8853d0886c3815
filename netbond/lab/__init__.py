"""The lab: emulated modems in network namespaces, for users without hardware, tests and benchmarks."""
