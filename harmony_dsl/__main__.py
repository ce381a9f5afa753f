"""`python -m harmony_dsl` is `harmonyc`."""

from harmony_dsl.cli.entry import harmonyc

harmonyc()
