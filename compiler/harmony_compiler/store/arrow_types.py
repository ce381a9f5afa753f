"""Types of Arrow as `columns` of a recipe has them. pyarrow is handed in: most who import this do without."""

from __future__ import annotations

from typing import Any


def arrow_type_text(arrow: Any, type_: Any) -> str:
    """The text of a type; `arrow` is the module pyarrow."""
    kinds = arrow.types
    if kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_):
        return f"list[{arrow_type_text(arrow, type_.value_type)}]"
    if kinds.is_struct(type_) or kinds.is_map(type_):
        return "record"
    if kinds.is_dictionary(type_):
        return arrow_type_text(arrow, type_.value_type)
    for text, holds in (
        ("str", kinds.is_string),
        ("str", kinds.is_large_string),
        ("bool", kinds.is_boolean),
        ("int", kinds.is_integer),
        ("float", kinds.is_floating),
        ("none", kinds.is_null),
    ):
        if holds(type_):
            return text
    return "json"
