"""Leases: what DHCP clients tell, and where it is kept."""
