"""An engine as a process: sockets, loop, statistics."""
