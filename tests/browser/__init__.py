"""The web page in a real browser; scripts/page installs what it needs."""
