"""Rows: from files, the hub and the recipe itself to raw rows, and which of them are taken."""
