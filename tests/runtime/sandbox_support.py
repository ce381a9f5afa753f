"""Which sandboxes the machine of the tests allows."""

from __future__ import annotations

import os
import subprocess
from functools import cache

import pytest

from harmony_runtime.graders.sandbox.isolation import BUBBLEWRAP, NAMESPACES, WEAK, Isolation


@cache
def refused(isolation: Isolation) -> str:
    """Why this machine does not allow it, or an empty text.

    Other tools are asked: that ours is at fault is no reason to skip.
    """
    if isolation == WEAK:
        return ""
    user = [] if os.geteuid() == 0 else ["--user"]
    command = {
        BUBBLEWRAP: ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--as-pid-1", "true"],
        NAMESPACES: ["unshare", *user, "--mount", "--ipc", "--net", "--uts", "--pid", "--fork", "true"],
    }[isolation]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()
    except FileNotFoundError:
        return f"{command[0]} is not installed"


def skip_where_refused(isolation: Isolation) -> Isolation:
    if fault := refused(isolation):
        pytest.skip(f"{isolation.name} does not work here: {fault}")
    return isolation
