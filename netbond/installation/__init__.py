"""What an installation consists of, and what installing and removing have to do. Pure."""
