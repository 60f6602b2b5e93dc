"""Services that stand in for the real ones: real sockets, real pictures, and every way to misbehave."""
