"""The session leader of a test's terminal: does for one job what a shell does.

Says `pid N`, `stopped` and `exit N` on the first descriptor; takes `fg` on the second, and leaves when that is closed.
"""

import fcntl
import os
import signal
import subprocess
import sys
import termios

TERMINAL = 2


def give_terminal(group: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    os.tcsetpgrp(TERMINAL, group)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTTOU])


def lead(report: int, orders: int, command: list[str]) -> None:
    fcntl.ioctl(TERMINAL, termios.TIOCSCTTY, 0)
    # The command has the terminal from its first step on: a shell that finds itself in the background stops.
    child = subprocess.Popen(command, process_group=0, preexec_fn=lambda: give_terminal(os.getpid()))  # noqa: PLW1509 - no threads here
    os.write(report, b"pid %d\n" % child.pid)
    while True:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        give_terminal(os.getpgrp())
        if not os.WIFSTOPPED(status):
            os.write(report, b"exit %d\n" % os.waitstatus_to_exitcode(status))
            os.read(orders, 100)
            return
        os.write(report, b"stopped\n")
        if not os.read(orders, 100):
            os.killpg(child.pid, signal.SIGKILL)
            return
        give_terminal(child.pid)
        os.killpg(child.pid, signal.SIGCONT)


if __name__ == "__main__":
    lead(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
