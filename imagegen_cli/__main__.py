"""The front door: what needs no imports is answered before there are any."""

import sys


def main() -> None:
    """Entry point of the `imagegen` command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from imagegen_cli import __version__  # noqa: PLC0415 - see above

        sys.stdout.write(f"imagegen {__version__}\n")
        return
    from imagegen_cli.cli import main as run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()
