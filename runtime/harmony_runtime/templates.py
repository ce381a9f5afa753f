"""Templates: as the compiler fills them."""

from __future__ import annotations

from harmony_compiler.store.templates import Template, TemplateFaultError

__all__ = ["Template", "TemplateFaultError"]
