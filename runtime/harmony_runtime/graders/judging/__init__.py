"""Judges: models that are asked for their opinion of a completion."""
