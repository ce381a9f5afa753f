"""Tokens: threads as a model reads them, made once and kept, and what is proved of them."""
