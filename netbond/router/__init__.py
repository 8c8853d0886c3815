"""Router mode: what nftables holds."""
