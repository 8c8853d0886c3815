"""Watchers of the services and events that give facts, one module each. None of them decides anything."""
