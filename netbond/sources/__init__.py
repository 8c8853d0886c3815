"""Sources of facts besides the kernel, one file each."""
