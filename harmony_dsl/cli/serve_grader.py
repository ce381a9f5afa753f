"""`harmonyc serve-grader`: a grader of a Python file becomes a reward server, for `remote` in recipes."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path

from harmony_dsl.cli.output import Refused, say
from harmony_dsl.cli.parser import Parser, count

SUMMARY = "serve a grader of a Python file over HTTP"


def configure(parser: Parser) -> None:
    parser.usage = "harmonyc serve-grader FILE.py:NAME [options]"
    parser.add_argument("grader", metavar="FILE.py:NAME", help="file and function, such as graders.py:score")
    parser.add_argument(
        "--host", metavar="HOST", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", metavar="PORT", type=_port, default=9000, help="0: one that is free (default: 9000)"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=count,
        default=1,
        help="calls of a function at the same time, where it is not async (default: 1)",
    )


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    file, _, name = options.grader.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        parser.error(f"`{options.grader}` is not of the form `FILE.py:NAME`, such as `graders.py:score`")
    if not Path(file).is_file():
        raise Refused(f"there is no file {file}", exit_code=1)
    from harmony_runtime.failures import RunFailed

    try:
        from harmony_runtime.graders.serving import serve

        with _listening(options.host, options.port) as listener:
            host, port = listener.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            ready = f"serving {name} on {url}"
            serve(Path(file).absolute(), name, listener, options.workers, lambda: say(ready))
    except RunFailed as failure:
        raise Refused(str(failure), failure.exit_code) from failure
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as fault:
        reason = (fault.strerror or str(fault)).partition(" (while ")[0]  # the rest is host and port again
        raise Refused(
            f"cannot listen at {host}, port {port}: {reason}; `--host` and `--port` name another place, and "
            "`--port 0` takes a port that is free"
        ) from fault


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"`{text}` is not a port, a whole number from 0 to 65535")
    return int(text)
