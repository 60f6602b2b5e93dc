"""Prompts and lists into requests that are ready to be sent."""
