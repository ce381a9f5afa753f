"""What runs inside the sandbox, or enters it.

The text of a file is given to `python -c`: it imports nothing of the project, and little that takes time.
"""
