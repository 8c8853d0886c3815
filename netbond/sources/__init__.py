"""Sources of facts beside the kernel."""
