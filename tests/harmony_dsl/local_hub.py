"""A hub on this machine: the few answers of the Hugging Face hub that models and datasets are looked up and
loaded by, over real HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dsl_support import Harmonyc, Outcome

_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")

_COMMANDS = """
import contextlib, io, json, os, sys
from harmony_dsl.cli.main import main
for line in sys.stdin:
    folder, os.environ["HARMONY_HOME"], *words = json.loads(line)
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class LocalHub:
    """Repositories by kind and name, each with its commits and where its branches stand."""

    def __init__(self) -> None:
        self.address = ""
        self.clear()

    def clear(self) -> None:
        self.gated: set[str] = set()
        self.down = False
        """Whether it hangs up on whoever asks."""
        self.asked: list[str] = []
        self._trees: dict[tuple[str, str], dict[str, dict[str, bytes]]] = {}
        self._branches: dict[tuple[str, str], dict[str, str]] = {}

    def push(self, kind: str, name: str, files: Mapping[str, str | bytes], branch: str = "main") -> str:
        """A new commit on a branch of `models` or `datasets`; gives its name."""
        tree = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        told = "".join(f"{path} {hashlib.sha1(data).hexdigest()}\n" for path, data in sorted(tree.items()))
        commit = hashlib.sha1(told.encode()).hexdigest()
        self._trees.setdefault((kind, name), {})[commit] = tree
        self._branches.setdefault((kind, name), {})[branch] = commit
        return commit

    def at(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit and its files."""
        commit = self._branches[kind, name].get(revision, revision)
        tree = self._trees[kind, name].get(commit)
        return None if tree is None else (commit, tree)

    def has(self, kind: str, name: str) -> bool:
        return (kind, name) in self._trees

    @contextmanager
    def serving(self) -> Iterator[LocalHub]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    @contextmanager
    def process(self, cache: Path, *, offline: bool = False) -> Iterator[Harmonyc]:
        """The command in a process of its own, which has this hub, and nothing in its caches but what is in
        `cache`. The libraries of the hub are loaded once for all that is asked of it."""
        environment = os.environ | {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": str(int(offline)),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
        command = [sys.executable, "-c", _COMMANDS]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
            asked, told = process.stdin, process.stdout
            assert asked is not None
            assert told is not None

            def call(*words: str) -> Outcome:
                asked.write(json.dumps([str(Path.cwd()), os.environ["HARMONY_HOME"], *words]) + "\n")
                asked.flush()
                return Outcome(*json.loads(told.readline()))

            yield call


def _handler(hub: LocalHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, body: bytes = b"") -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if hub.down:
                self.close_connection = True
            elif found := _API.fullmatch(path):
                self._api(found, body)
            elif found := _FILE.fullmatch(path):
                prefix, name, revision, file = found.groups()
                self._file("datasets" if prefix else "models", name, revision, file)
            else:
                self._say(404, {"error": "unknown"})

        def _known(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
            if name in hub.gated:
                self._say(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
            elif not hub.has(kind, name):
                self._say(404, {"error": "no repository"}, {"X-Error-Code": "RepoNotFound"})
            elif (held := hub.at(kind, name, revision)) is None:
                self._say(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
            else:
                return held
            return None

        def _api(self, asked: re.Match[str], body: bytes) -> None:
            kind, name, what, revision, below = asked.groups(default="")
            held = self._known(kind, name, revision or "main")
            if held is None:
                return
            commit, tree = held
            listed: list[Any] = [
                {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for path, data in tree.items()
            ]
            if what == "tree":
                inside = f"{below}/" if below else ""
                self._say(200, [one for one in listed if one["path"].startswith(inside)])
            elif what == "paths-info":
                try:
                    paths = json.loads(body)["paths"]
                except ValueError:
                    paths = parse_qs(body.decode())["paths"]
                self._say(200, [one for one in listed if one["path"] in paths])
            else:
                siblings = [{"rfilename": path} for path in tree]
                facts = {"id": name, "sha": commit, "private": False, "tags": [], "siblings": siblings}
                self._say(200, {**facts, "downloads": 0, "likes": 0})

        def _file(self, kind: str, name: str, revision: str, path: str) -> None:
            held = self._known(kind, name, revision)
            if held is None:
                return
            commit, tree = held
            if path not in tree:
                self._say(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
                return
            data = tree[path]
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            headers = {"X-Repo-Commit": commit, "ETag": etag, "Accept-Ranges": "bytes"}
            if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(asked[1]), int(asked[2] or len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                self._send(206, data[first : last + 1], headers)
            else:
                self._send(200, data, headers)

        def _say(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
            told = {"Content-Type": "application/json", **(headers or {})}
            self._send(status, json.dumps(data).encode(), told)

        def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    return Handler
