"""The data path in C, and how Python calls it."""
