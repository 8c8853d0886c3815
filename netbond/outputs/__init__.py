"""What the agent keeps right beside routes and rules: one file for each output."""
