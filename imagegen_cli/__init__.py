"""A terminal client for image generation services."""

__version__ = "0.1.0"
