"""netbond: routes and bonds the uplinks of a box with several modems."""

__version__ = "0.2.0"
