"""Turns prompts and prompt lists into requests that are ready to be sent."""
