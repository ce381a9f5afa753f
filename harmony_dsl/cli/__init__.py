"""The command `harmonyc`: one small module a command, and what they share."""
