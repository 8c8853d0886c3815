"""What netbond needs of the operating system: files, clocks, priorities and plain text."""
