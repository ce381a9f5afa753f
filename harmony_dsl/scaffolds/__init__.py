"""Recipes to start from, one for each algorithm, with rows for all of them in `numbers.jsonl`.

They are recipes like any other: they check and run where they stand. `harmonyc new` writes copies, with the
names, models and rows that it was given.
"""
