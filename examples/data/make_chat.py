"""Make the threads of the chat example: a customer asks a shop for prices, and orders.

    python examples/data/make_chat.py

writes `chat.jsonl` beside this file. The seed is fixed, so everybody gets the same threads.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

THREADS = 240
SEED = 2024

GOODS = {"tea": 3, "bread": 4, "honey": 7, "cheese": 9, "olive oil": 12}
SYSTEM = "You sell groceries. Be brief."


def threads() -> list[dict[str, object]]:
    dice = random.Random(SEED)
    return [{"id": number, "messages": thread(dice)} for number in range(THREADS)]


def thread(dice: random.Random) -> list[dict[str, str]]:
    """A thread of one or two questions, with or without a system turn."""
    thing, count = dice.choice(list(GOODS)), dice.randint(2, 9)
    price = GOODS[thing]
    said = [("user", f"How much is {thing}?"), ("assistant", f"{price} euros.")]
    if dice.random() < 0.7:
        said += [("user", f"I take {count}."), ("assistant", f"That is {count * price} euros.")]
    if dice.random() < 0.5:
        said.insert(0, ("system", SYSTEM))
    return [{"role": role, "content": content} for role, content in said]


def write(folder: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in threads())
    (folder / "chat.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(__file__).parent)
