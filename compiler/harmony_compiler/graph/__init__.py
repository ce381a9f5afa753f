"""The graph and the catalogue of its nodes: what compiler and runtime share."""
