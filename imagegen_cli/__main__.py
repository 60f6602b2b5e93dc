"""The front door: what needs no imports is answered before there are any."""

import gc
import sys

SELDOM = (20_000, 10, 1000)
"""Objects made between two searches for garbage: modules and tasks are none, and there are thousands of them.

A search through all there is holds the loop for a tenth of a second with ten thousand tasks: as good as never.
"""


def main() -> None:
    """Entry point of the `imagegen` command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from imagegen_cli import __version__  # noqa: PLC0415 - see above

        sys.stdout.write(f"imagegen {__version__}\n")
        return
    gc.set_threshold(*SELDOM)
    from imagegen_cli.cli import main as run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()
