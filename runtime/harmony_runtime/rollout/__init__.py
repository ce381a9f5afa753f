"""Rollouts: prompts in, completions out."""
