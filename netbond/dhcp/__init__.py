"""DHCP leases: how clients' words are read, and where leases are kept."""
