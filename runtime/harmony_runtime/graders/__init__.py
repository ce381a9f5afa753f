"""Graders: the protocol, those that come with the language, and the room in which they grade."""
