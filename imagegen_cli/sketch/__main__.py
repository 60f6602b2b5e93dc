"""The drawing process: it lives for one picture, and never longer than the program that started it."""

import os
import select
import sys

from imagegen_cli.sketch.order import Order


def main() -> None:
    order = Order.read(sys.stdin.buffer.readline())
    end_with_parent()
    from imagegen_cli.sketch.picture import draw  # noqa: PLC0415 - what comes before must not wait for it

    try:
        sys.stdout.buffer.write(draw(order).answer())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)


def end_with_parent() -> None:
    """Let the kernel end this process when stdin closes.

    A watching thread could not: resvg holds the interpreter lock while it renders. Where the kernel has no such
    signal, the process ends when it fails to write its picture.
    """
    if sys.platform != "linux":
        return
    import fcntl  # noqa: PLC0415 - not everywhere

    stdin = sys.stdin.fileno()
    fcntl.fcntl(stdin, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(stdin, fcntl.F_SETFL, fcntl.fcntl(stdin, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([stdin], [], [], 0)[0]:
        os._exit(1)


if __name__ == "__main__":
    main()
