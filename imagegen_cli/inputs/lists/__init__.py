"""Prompt lists: bytes into text, text into rows. What is doubtful is refused, because rows are paid for."""
