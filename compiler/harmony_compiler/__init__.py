"""Syntax tree to graph: the storey that knows what a recipe means."""
