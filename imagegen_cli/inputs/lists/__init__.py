"""Reads prompt lists: bytes into text, text into rows. Doubtful content is refused, because every row costs money."""
