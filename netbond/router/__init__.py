"""Router mode: the nftables table with which LAN clients share the uplinks."""
