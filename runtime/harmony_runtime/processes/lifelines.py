"""Lifelines: connections on which nothing is ever said, and whose end says that another process has gone.

Who waits for a lost process in one of gloo's collectives hears of it there. Who waits in one of NCCL's waits
for the ten minutes of its timeout, and who waits for a grader or reads a file hears nothing. So every process
keeps a connection to process 0, and a thread that waits for its end. It is the kernel that ends or keeps a
connection: a process that is slow, or stopped, or holds its interpreter for minutes, has not gone.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread

from harmony_runtime.failures import LostProcess

GRACE = 40.0
"""Seconds between the loss and the end of a process that has not ended by itself. Longer than launchers take
(ours, and torchrun, half a minute), so that they tell, who know more; and within a minute."""

_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""A machine that vanished ends no connection: after 10 seconds it is asked, and after 30 more it has gone."""

Place = tuple[int, bytes]
"""The port of process 0, and the key by which it knows who belongs to the run."""


class Lifelines:
    """Those of one process. Where none can be made, what is left are the timeouts of the process group."""

    def __init__(self, rank: int, agree: Callable[[list[Place]], list[Place]], grace: float = GRACE) -> None:
        """`agree` gathers lists from all processes, which all make their lines here."""
        self._grace = grace
        self._over = Event()
        self._speaks = Lock()
        self._open: list[socket.socket] = []
        host = os.environ["MASTER_ADDR"]
        if rank > 0:
            ((port, key),) = agree([])
            _start(self._join, host, port, key)
        else:
            listener = socket.create_server(("127.0.0.1" if host in ("127.0.0.1", "localhost") else "", 0))
            self._open.append(listener)
            key = secrets.token_bytes(16)
            agree([(listener.getsockname()[1], key)])
            _start(self._listen, listener, key)

    def leave(self) -> None:
        """The run is over: from here on nobody is missed."""
        self._over.set()
        self._close()

    def _listen(self, listener: socket.socket, key: bytes) -> None:
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                _start(self._admit, line, key)

    def _admit(self, line: socket.socket, key: bytes) -> None:
        """Take a line of a process of the run; anybody may knock at a port."""
        with suppress(OSError):
            if secrets.compare_digest(line.recv(len(key), socket.MSG_WAITALL), key):
                self._hold(line)
                return
        line.close()

    def _join(self, host: str, port: int, key: bytes) -> None:
        with suppress(OSError):
            line = socket.create_connection((host, port), timeout=self._grace)
            line.sendall(key)
            line.settimeout(None)
            self._hold(line)

    def _hold(self, line: socket.socket) -> None:
        """Wait until the line ends."""
        self._open.append(line)
        with suppress(OSError):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE.items():
                if hasattr(socket, name):
                    line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            line.recv(1)
        self._close()  # process 0 hands on what it heard
        # With one line all of process 0 end: the first thread speaks for all.
        if not self._over.wait(self._grace) and self._speaks.acquire(blocking=False):
            lost = LostProcess()
            # The main thread stands where nothing wakes it.
            with suppress(OSError, ValueError):
                print(lost, file=sys.stderr, flush=True)
            os._exit(lost.exit_code)

    def _close(self) -> None:
        for held in self._open:
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)  # `close` alone would wake nobody who waits for it
            held.close()


def _start(target: Callable[..., None], *arguments: object) -> None:
    Thread(target=target, args=arguments, daemon=True).start()
