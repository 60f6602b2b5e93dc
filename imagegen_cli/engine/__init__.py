"""Many tasks at once, each from its state to its end."""
