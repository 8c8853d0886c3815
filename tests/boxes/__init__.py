"""Booted Debian systems in containers: `scripts/boxes` runs what is here; plain pytest leaves it out."""
