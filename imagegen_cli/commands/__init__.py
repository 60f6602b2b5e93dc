"""One module a family of commands; each function returns an exit code."""
