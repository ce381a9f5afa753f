"""How a program is kept from the machine: bubblewrap, namespaces, or limits alone. No torch here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harmony_runtime.graders.sandbox.limits import Limits

_INSIDE = Path(__file__).parent / "inside"
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin")
"""What the interpreter and its libraries need, where it is there."""
_DEVICES = ("null", "zero", "full", "random", "urandom")


@dataclass(frozen=True)
class Isolation:
    """One way to keep a program from the machine."""

    name: str
    command: Callable[[Limits], list[str]]
    """What starts the process that watches, with its text."""
    whole: bool = True
    """Whether the program sees nothing of the machine; else it only has limits."""


def _bubblewrap(limits: Limits) -> list[str]:
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
    ]
    command += ["--die-with-parent", "--new-session", "--as-pid-1"]
    # As root it needs no namespace of users; there the program becomes a user of its own.
    command += (
        ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if os.geteuid() == 0 else ["--unshare-user"]
    )
    for folder in _shown():
        # Whom the program becomes must be able to pass through.
        for above in reversed(Path(folder).parents[:-1]):
            command += ["--perms", "0755", "--dir", str(above)]
        if Path(folder).is_symlink():
            command += ["--symlink", str(Path(folder).readlink()), folder]
        else:
            command += ["--ro-bind", folder, folder]
    command += ["--perms", "0755", "--dir", "/dev"]
    for device in _DEVICES:
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    command += ["--symlink", "/tmp", "/dev/shm", "--proc", "/proc"]
    command += ["--perms", "1777", "--size", str(limits.folder), "--tmpfs", "/tmp", "--remount-ro", "/"]
    return [*command, "--", *_python(), _text("supervise")]


def _namespaces(limits: Limits) -> list[str]:
    return [*_python(), _text("namespaces"), _text("supervise"), str(limits.folder), *_shown()]


BUBBLEWRAP = Isolation("bubblewrap", _bubblewrap)
NAMESPACES = Isolation("namespaces", _namespaces)
WEAK = Isolation("limits alone", lambda _: [*_python(), _text("supervise")], whole=False)


def installed(isolation: Isolation) -> bool:
    """Whether it can be tried."""
    return sys.platform == "linux" and (isolation != BUBBLEWRAP or shutil.which("bwrap") is not None)


def _python() -> list[str]:
    """Without the site's packages, the user's, the environment's and the folder's."""
    return [str(_interpreter()), "-s", "-S", "-P", "-B", "-c"]


def _interpreter() -> Path:
    """The interpreter itself: a virtual environment only points to it."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def _shown() -> list[str]:
    """The folders that a program may read: the system's, and the interpreter's where it is elsewhere."""
    system = [folder for folder in _SYSTEM if Path(folder).is_dir()]
    own = {Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve()}
    return system + sorted(str(path) for path in own if path != Path("/usr"))


def _text(name: str) -> str:
    return (_INSIDE / f"{name}.py").read_text(encoding="utf-8")
