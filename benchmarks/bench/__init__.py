"""This project and TRL on the same work, side by side: see `__main__.py`."""
