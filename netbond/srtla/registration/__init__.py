"""How a group is known: ids that prove themselves, and the pre-shared key."""
