"""The receiving end, and its several processes."""
