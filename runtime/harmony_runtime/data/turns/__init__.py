"""Turns: from raw rows to threads of turns, by a mapping of the recipe or a layout that is recognised."""
