"""The configuration: what may be written, and reading it."""
