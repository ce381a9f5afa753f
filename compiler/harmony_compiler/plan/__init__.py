"""The plan: what a run would do, before it does it."""
