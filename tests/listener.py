"""A port on loopback that nobody is to connect to."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting_listener() -> Iterator[tuple[int, Callable[[], int]]]:
    """The port, and how many have connected since that was last asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)

        def connections() -> int:
            count = 0
            while True:
                try:
                    listening.accept()[0].close()
                except BlockingIOError:
                    return count
                count += 1

        yield listening.getsockname()[1], connections
