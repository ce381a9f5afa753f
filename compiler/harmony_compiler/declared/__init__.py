"""Declarations: values, inputs and imports, in the order of their needs."""
