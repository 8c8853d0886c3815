"""Files, clocks and priorities of the operating system."""
