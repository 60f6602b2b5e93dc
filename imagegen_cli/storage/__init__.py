"""The history on disk, and the processes that share it."""
