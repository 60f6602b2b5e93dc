"""A port of loopback that stays ours while nothing listens on it.

A service that is stopped for a while, or started by another program, would else find its port taken: the kernel gives
the ports of servers and of clients from one range, and a thousand other tests take some at the same time.
"""

import os
import socket
import sys
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class PortHold:
    """Keeps a port, a free one for 0, as long as this object lives. A server may listen on it with SO_REUSEADDR.

    A client is refused there meanwhile. Only Linux has such ports; elsewhere the port is only looked up.
    """

    def __init__(self, port: int = 0) -> None:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))
            self.port: int = one.getsockname()[1]
            self.close: Callable[[], object] = lambda: None
            if sys.platform == "linux":
                self.close = weakref.finalize(self, os.close, one.detach())
