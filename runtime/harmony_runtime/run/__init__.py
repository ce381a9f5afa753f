"""One run from end to end: the walk over a graph, and what it does at its stops."""
