"""`harmonyc sample`: a saved model answers a prompt.

Completions go to standard output, notes about them to standard error. The runtime, and torch with it, is
imported only after the key has been found.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from harmony_dsl.cli.models import entry_of
from harmony_dsl.cli.output import Refused, complain, counted, say
from harmony_dsl.cli.parser import Parser, count
from harmony_dsl.cli.run import require_train_extra

SUMMARY = "let a saved model answer a prompt"

MOST_TOKENS = 256
"""Of a completion, where nobody says."""

BETWEEN = "---"
"""The line between completions."""


def configure(parser: Parser) -> None:
    parser.usage = 'harmonyc sample KEY "PROMPT" [options]'
    parser.add_argument("key", metavar="KEY", help="key under which a recipe saved the model")
    parser.add_argument("prompt", metavar="PROMPT", nargs="+", help="what the user says; `-`: standard input")
    parser.add_argument("--system", metavar="TEXT", help="a system turn before the prompt")
    parser.add_argument("-n", metavar="N", type=count, default=1, help="completions (default: 1)")
    parser.add_argument(
        "--max-tokens",
        metavar="N",
        type=count,
        help=f"tokens of a completion (default: {MOST_TOKENS}, or what the context has room for)",
    )
    parser.add_argument(
        "--temperature", metavar="T", type=_temperature, default=1.0, help="0: the likeliest (default: 1.0)"
    )
    parser.add_argument("--top-p", metavar="P", type=_share, help="draw from this share of the likeliest")
    parser.add_argument("--top-k", metavar="K", type=count, help="draw from so many of the likeliest")
    parser.add_argument("--seed", metavar="N", type=_seed, default=0, help="another seed, another answer")


def execute(parser: Parser, arguments: Sequence[str]) -> int:
    options = parser.read(arguments)
    if len(options.prompt) > 1:
        parser.error("the prompt is one argument; put it in quotes")
    from harmony_compiler.store.home import home

    registry = home() / "models"
    entry_of(registry, options.key)
    turns = _turns(options)
    require_train_extra()
    return _sample(registry, options, turns)


def _turns(options: Namespace) -> list[dict[str, str]]:
    (prompt,) = options.prompt
    try:
        if prompt == "-":
            prompt = sys.stdin.read().removesuffix("\n")
        turns = [] if options.system is None else [{"role": "system", "content": options.system}]
        turns.append({"role": "user", "content": prompt})
        for turn in turns:
            turn["content"].encode()
    except UnicodeError as fault:
        raise Refused(f"the prompt is not UTF-8: {fault}", exit_code=1) from fault
    return turns


def _sample(registry: Path, options: Namespace, turns: list[dict[str, str]]) -> int:
    from harmony_compiler.graph.settings import Sampling
    from harmony_dsl.cli.loading import for_good

    with for_good():
        from harmony_runtime.data.tokens.trained import unknown_id
        from harmony_runtime.failures import RunFailed, machine_faults
        from harmony_runtime.models.chat import ChatError
        from harmony_runtime.rollout.saved import open_saved

    try:
        blueprint, engine = open_saved(registry, options.key)
        (ids,) = blueprint.chat.prompts([turns])
        blueprint.check_ids(max(ids, default=0))
        if unknown := ids.count(unknown_id(blueprint.tokenizer)):
            complain(f"note: {unknown} of {len(ids)} tokens of the prompt are unknown to the tokenizer")
        sampling = Sampling(
            max_tokens=_room(len(ids), blueprint.context, options.max_tokens),
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
        )
        with machine_faults(f"sampling from `{options.key}`"):
            completions = engine.complete([ids], options.n, sampling, seed=options.seed)
    except ChatError as fault:
        raise Refused(f"the chat template of `{options.key}` {fault}", exit_code=1) from fault
    except RunFailed as failure:
        raise Refused(str(failure), failure.exit_code) from failure
    for number, completion in enumerate(completions):
        if number:
            say(BETWEEN)
        say(completion.text)
    if cut := sum(completion.stop == "length" for completion in completions):
        which = f"{cut} of {len(completions)} completions" if len(completions) > 1 else "the completion"
        complain(f"note: {which} stopped after {counted(sampling.max_tokens, 'token')}, without an end token")
    return 0


def _room(prompt: int, context: int, wanted: int | None) -> int:
    """Tokens that a completion may have; a wish that cannot be met is told."""
    room = context - prompt
    if not prompt:
        raise Refused("the chat template makes an empty text of this prompt", exit_code=1)
    if room < 1:
        raise Refused(
            f"the prompt has {counted(prompt, 'token')}, and the model's context of {context:,} leaves no "
            "room for a completion",
            exit_code=1,
        )
    if wanted is not None and room < wanted:
        complain(
            f"note: at most {counted(room, 'token')} a completion, not {wanted:,}: the model's context has "
            f"{context:,}, and the prompt takes {prompt:,}"
        )
    return min(wanted or MOST_TOKENS, room)


def _temperature(text: str) -> float:
    number = _float(text)
    if not 0 <= number < math.inf:
        raise ArgumentTypeError(f"`{text}` is not a number of at least 0")
    return number


def _share(text: str) -> float:
    number = _float(text)
    if not 0 < number <= 1:
        raise ArgumentTypeError(f"`{text}` is not a number above 0 and at most 1")
    return number


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"`{text}` is not a whole number of at least 0")
    return int(text)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
