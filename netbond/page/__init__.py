"""The web page: a process of its own, without root, that shows in a browser what the agent does."""
