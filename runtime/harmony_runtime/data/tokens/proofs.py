"""Proofs: what must hold of rows in tokens before anything trains on them.

Whoever puts rows into tokens gives each to `Proofs.add`. What is cheap is counted over all rows; the rest is
shown on the first ones, by other ways than those that made the tokens: decoding them, asking for a completion
anew, and rendering threads in which the others say something else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import Any, NamedTuple

from harmony_runtime.data.turns.threads import RowPair, RowThread
from harmony_runtime.failures import RunFailed
from harmony_runtime.graders.protocol import Turn
from harmony_runtime.models.chat import Chat, ChatError, Segment, TrainOn
from harmony_runtime.models.masks import first_difference
from harmony_runtime.models.templates import mark
from harmony_runtime.watch import Watcher

SAMPLE = 64
"""Rows on which everything is shown."""

Pieces = Sequence[tuple[Sequence[int], float]]
"""A text in tokens: the ids of its segments, and what each of them counts in a loss."""


class Proof(NamedTuple):
    name: str
    holds: bool
    says: str
    """What was found, in a sentence."""

    def __str__(self) -> str:
        return self.says


class Unproven(RunFailed):
    """Something does not hold of the rows of a dataset."""

    def __init__(self, where: str, proofs: Sequence[Proof]) -> None:
        super().__init__(*(f"{where}{proof}" for proof in proofs if not proof.holds))
        self.proofs = tuple(proofs)


class Proofs:
    """What holds of the rows of one dataset, for one model."""

    def __init__(self, chat: Chat, train_on: TrainOn | None) -> None:
        """`train_on` is None where nothing is trained on: the rows are prompts. Of pairs it is `"all"`."""
        self._chat = chat
        self._tokenizer = chat.tokenizer
        self._train_on = train_on
        self._masked = train_on not in (None, "everything")
        self._control = _control_tokens(chat.tokenizer)
        self._rows = self._texts = self._tokens = self._trained = 0
        self._empty = self._full = 0
        self._completions = self._unended = 0
        self._without_bos = self._with_two = 0
        self._altered = self._controlled = 0
        self._controls: set[str] = set()
        self._asked = _Shown()
        self._spelled = _Shown()
        self._unmoved = _Shown()

    def add(self, thread: RowThread, texts: Sequence[Sequence[Segment]], pieces: Sequence[Pieces]) -> None:
        """Look at a row: the texts that the template made of it, two of a pair, and their ids."""
        self._rows += 1
        said = [thread.turns]
        if isinstance(thread, RowPair):
            said = [(*thread.turns, *answer) for answer in (thread.chosen, thread.rejected)]
        for turns, segments, ids in zip(said, texts, pieces, strict=True):
            self._texts += 1
            self._count_beginning(ids)
            self._count_mask(turns, ids)
            self._count_words(turns, "".join(segment.text for segment in segments))
            if self._rows <= SAMPLE:
                self._show_spelling(segments, ids)
                if self._masked:
                    answered = len(thread.turns) if isinstance(thread, RowPair) else 0
                    self._show_prompts(turns, answered, ids)
                    self._show_mask(turns, answered, segments)

    @property
    def results(self) -> tuple[Proof, ...]:
        """What was found, whether it holds or not; nothing where there are no rows."""
        if not self._rows:
            return ()
        found = [self._beginning(), self._spelling()]
        if self._train_on is not None:
            found += [self._end(), self._padding(), self._mask()]
            if self._masked:
                found += [self._prompt(), self._others()]
        return tuple(found)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not refuse a run, and should be known."""
        found = []
        if self._controlled:
            tokens = ", ".join(sorted(self._controls)[:3])
            found.append(
                f"{self._of(self._controlled)} have control tokens in the text of the data ({tokens}), and a "
                "model reads these as if the template had written them"
            )
        for shown, what in (
            (self._asked, "completions follow other tokens than those that generation would begin with"),
            (self._spelled, "rows hold characters that the tokenizer cannot spell"),
        ):
            if shown.differing and not shown.mostly:
                found.append(f"{shown.differing} of the first {shown.all} {what}: {shown.first}")
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        if not self._altered:
            return ()
        return (
            f"the chat template changes the words of {self._of(self._altered)}: it trims blanks, or leaves "
            "out reasoning",
        )

    @property
    def about(self) -> dict[str, Any]:
        """All of this as JSON; `refuse_unproven`, `proven` and `say_proofs` read it."""
        return {"results": self.results, "warnings": self.warnings, "notes": self.notes}

    def _count_beginning(self, pieces: Pieces) -> None:
        bos = self._tokenizer.bos_token_id
        first = list(islice(chain.from_iterable(ids for ids, _ in pieces), 2))
        self._without_bos += self._chat.adds_bos and first[:1] != [bos]
        self._with_two += bos is not None and first == [bos, bos]

    def _count_mask(self, turns: Sequence[Turn], pieces: Pieces) -> None:
        tokens = sum(len(ids) for ids, _ in pieces)
        trained = sum(len(ids) for ids, weight in pieces if weight)
        self._tokens += tokens
        self._trained += trained
        self._empty += not trained
        # Where only the assistant speaks, nothing else is there.
        self._full += trained == tokens and any(turn["role"] != "assistant" for turn in turns)
        if self._masked:
            ends = [ids[-1:] for ids, weight in pieces if weight]
            self._completions += len(ends)
            self._unended += sum(not set(end) & set(self._chat.end_ids) for end in ends)

    def _count_words(self, turns: Sequence[Turn], text: str) -> None:
        words = [said for turn in turns for said in _said(turn)]
        self._altered += not all(said in text for said in words)
        if self._control is not None:
            found = {token for said in words for token in self._control.findall(said)}
            self._controlled += bool(found)
            self._controls |= found

    def _show_spelling(self, segments: Sequence[Segment], pieces: Pieces) -> None:
        ids = [token for piece, _ in pieces for token in piece]
        if self._tokenizer.unk_token_id in ids:
            return  # counted elsewhere
        text = "".join(segment.text for segment in segments)
        if self._chat.adds_bos and not text.startswith(self._tokenizer.bos_token):
            ids = ids[1:]
        read = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        self._spelled.add(_bare(text), _bare(read), "{} is read as {}")

    def _show_prompts(self, turns: Sequence[Turn], answered: int, pieces: Pieces) -> None:
        """Ask for each completion as generation would."""
        assert self._train_on is not None
        answers = [n for n in self._chat.answers(turns, self._train_on) if n >= answered]
        begins = accumulate((list(ids) for ids, _ in pieces), initial=[])
        seen = [before for before, (_, weight) in zip(begins, pieces, strict=False) if weight]
        for number, before in zip(answers, seen, strict=False):
            (asked,) = self._chat.prompts([turns[:number]])
            ids = (self._names(asked), self._names(before))
            self._asked.add(*ids, "generation has {} where training has {}")

    def _show_mask(self, turns: Sequence[Turn], answered: int, segments: Sequence[Segment]) -> None:
        """Let the others say something else: what is trained on stays as it is."""
        others = [
            {**turn, "content": mark(number)} if turn["role"] != "assistant" and turn.get("content") else turn
            for number, turn in enumerate(turns)
        ]
        try:
            changed = self._segments(others, answered)
        except ChatError:
            return  # it asks for particular words
        self._unmoved.add(_trained_texts(segments), _trained_texts(changed), "{} becomes {}")

    def _segments(self, turns: Sequence[Turn], answered: int) -> Sequence[Segment]:
        if not answered:
            assert self._train_on is not None
            return self._chat.segments(turns, self._train_on)
        prompt, answer, _ = self._chat.pair(turns[:answered], turns[answered:], turns[answered:])
        return [*prompt, *answer]

    def _beginning(self) -> Proof:
        bos = self._tokenizer.bos_token
        if self._with_two:
            says = f"{self._of(self._with_two)} begin with two {bos!r}: take one out of template or data"
        elif self._without_bos:
            says = f"{self._of(self._without_bos)} do not begin with {bos!r}, which the tokenizer would add"
        elif self._chat.adds_bos:
            says = f"each row begins with one {bos!r}"
        else:
            says = "no row begins with a doubled beginning token, and the tokenizer would add none"
        return Proof("beginning", not (self._with_two or self._without_bos), says)

    def _end(self) -> Proof:
        ends = " or ".join(map(repr, self._chat.end_tokens))
        if self._unended:
            says = (
                f"{self._unended} of {self._completions} completions do not end with the token {ends}: the "
                "tokenizer joins it with what stands before it. Name another `end_token`"
            )
        else:
            says = f"each completion ends with {ends}, which is trained on and ends generation"
        return Proof("end", not self._unended, says)

    def _padding(self) -> Proof:
        pad = self._tokenizer.pad_token
        if pad is None:
            says = "there is no pad token: padding is told by length"
        elif self._tokenizer.pad_token_id in self._chat.end_ids:
            says = f"{pad!r} pads and ends: padding is told by length, so that the end stays trained on"
        else:
            says = f"{pad!r} pads, and ends nothing"
        return Proof("padding", not self._unended, says)

    def _mask(self) -> Proof:
        share = f"{self._trained / max(self._tokens, 1):.0%} of the tokens are trained on"
        if self._empty == self._texts:
            return Proof("mask", False, "no row has a token to train on")
        if self._full and self._train_on != "everything":
            return Proof("mask", False, f"every token of {self._of(self._full)} would be trained on")
        empty = f", and none of {self._of(self._empty)}" if self._empty else ""
        return Proof("mask", True, share + empty)

    def _prompt(self) -> Proof:
        if self._asked.mostly:
            says = (
                "training and generation would see different tokens before a completion: "
                f'{self._asked.first}. `train_on = "last"` asks for one completion a row'
            )
        else:
            but = f", but for {self._asked.differing} of those looked at" if self._asked.differing else ""
            says = f"generation begins with the tokens that training reads before a completion{but}"
        return Proof("prompt", not self._asked.mostly, says)

    def _others(self) -> Proof:
        if self._unmoved.differing:
            says = (
                "what others say would be trained on, as with other words of theirs the completion "
                f"{self._unmoved.first}. Name another `chat_template`"
            )
        else:
            says = "nothing that others say is trained on"
        return Proof("others", not self._unmoved.differing, says)

    def _spelling(self) -> Proof:
        if self._spelled.mostly:
            says = f"the tokenizer cannot spell the text of these rows: {self._spelled.first}"
        else:
            but = f", but for {self._spelled.differing} of those looked at" if self._spelled.differing else ""
            says = f"the tokens spell the text that the template writes{but}"
        return Proof("spelling", not self._spelled.mostly, says)

    def _of(self, rows: int) -> str:
        return f"{rows} of {self._texts} {'rows' if self._texts == self._rows else 'answers'}"

    def _names(self, ids: Sequence[int]) -> list[str]:
        return [self._tokenizer.decode([token]) for token in ids]


def proven(about: Mapping[str, Any]) -> tuple[Proof, ...]:
    """The results in what was kept."""
    return tuple(Proof(*found) for found in about["results"])


def refuse_unproven(about: Mapping[str, Any], where: str) -> None:
    """
    Raises:
        Unproven: something does not hold.
    """
    if not all(proof.holds for proof in proven(about)):
        raise Unproven(where, proven(about))


def say_proofs(about: Mapping[str, Any], where: str, watcher: Watcher) -> None:
    """Say what does not refuse a run, and should be known."""
    for note in about["notes"]:
        watcher.note(f"{where}{note}")
    for warning in about["warnings"]:
        watcher.warning(f"{where}{warning}")


class _Shown:
    """Something shown again and again: how often it differed, and how it did first."""

    def __init__(self) -> None:
        self.all = self.differing = 0
        self.first = ""

    def add(self, one: Sequence[str], other: Sequence[str], how: str) -> None:
        """Two that should be the same; `how` says of the first difference how they are not."""
        self.all += 1
        if one != other:
            self.differing += 1
            self.first = self.first or how.format(*first_difference(one, other))

    @property
    def mostly(self) -> bool:
        """Whether it is in the nature of the template or the tokenizer, and not of a few rows."""
        return self.differing > self.all / 2


def _said(turn: Turn) -> list[str]:
    """What a turn says that templates write as it is."""
    words = (turn.get("content"), turn.get("reasoning_content"))
    return [said for said in words if isinstance(said, str)]


def _trained_texts(segments: Sequence[Segment]) -> list[str]:
    return [segment.text for segment in segments if segment.weight]


def _bare(text: str) -> str:
    """A text without what tokenizers may change: blanks, and how characters are composed."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _control_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    added: Mapping[int, Any] = getattr(tokenizer, "added_tokens_decoder", {})
    control = {token.content for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
    return re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True)))) if control else None
