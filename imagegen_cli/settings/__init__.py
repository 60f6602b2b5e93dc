"""Settings files, and where they are."""
