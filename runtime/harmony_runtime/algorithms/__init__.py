"""Algorithms: what each does with data and weights, and the rooms they share."""
