"""Searching constants with regular expressions, which some of them would make take for ever."""

from __future__ import annotations

import re

from harmony_compiler.rewards.arithmetic import NoValueError

PATIENCE = 2.0
"""Seconds that a search may take."""

_REPEATED_GROUP = r"\)[*+?{]"
_REPEATED = r"[*+{]"

_SEARCH = "import re, sys; sys.exit(re.search(*sys.argv[1:]) is None)"


def searched(text: str, pattern: str) -> bool:
    """Whether `pattern` is found in `text`.

    Raises:
        NoValueError: it takes too long to find out.
    """
    tries = min(len(text), 10_000) ** len(re.findall(_REPEATED, pattern))
    if len(text) <= 20 or (tries <= 1e7 and not re.search(_REPEATED_GROUP, pattern)):
        return re.search(pattern, text) is not None

    import subprocess  # a search cannot be stopped from within
    import sys

    command = [sys.executable, "-I", "-c", _SEARCH, pattern, text]
    try:
        return subprocess.run(command, timeout=PATIENCE, capture_output=True, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        raise NoValueError(f"it takes too long to search {len(text):,} characters for this") from None
    except (OSError, ValueError):  # a text that no command line takes
        raise NoValueError("the text is too long to search") from None
