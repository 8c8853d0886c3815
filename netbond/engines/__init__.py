"""The SRTLA engines as the agent's children."""
