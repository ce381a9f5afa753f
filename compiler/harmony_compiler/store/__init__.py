"""Folder formats that compiler and runtime both read. Standard library only."""
