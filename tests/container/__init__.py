"""The container image of the receiver: `scripts/container` runs what is here; plain pytest leaves it out."""
