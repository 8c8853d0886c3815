"""SRTLA, both ends: one SRT stream over several links. Nothing here imports the agent."""
