"""Verifiable instruction following: the 25 kinds of IFEval (Zhou et al., 2023). No torch here."""

from __future__ import annotations

from harmony_runtime.graders.rules.instructions.grader import instructions

__all__ = ["instructions"]
