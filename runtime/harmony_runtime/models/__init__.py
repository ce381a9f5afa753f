"""Models: where weights come from, and how turns become text."""
