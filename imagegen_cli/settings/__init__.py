"""Reads, checks and writes the settings."""
