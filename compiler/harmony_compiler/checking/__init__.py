"""Types and values: what every expression is worth, and what is wrong with it."""
