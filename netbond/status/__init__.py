"""What people and programs read of the running agent."""
