"""HTTP, proxies, and pictures on their way to the disk."""
