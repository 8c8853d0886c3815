"""Whole virtual machines: `scripts/vm` runs what is here; plain pytest leaves it out."""
