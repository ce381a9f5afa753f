"""Text to syntax tree: the ground floor of Harmony DSL."""
