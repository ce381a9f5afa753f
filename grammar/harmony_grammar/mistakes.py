"""A fault of the automaton to a finding in people's words, and to tokens that can be read on.

Each recogniser looks at the place of a fault and knows one mistake; the first that knows its own wins. What
none knows is said in general words, and the smallest part around it is replaced by a BROKEN token.
"""

from __future__ import annotations

from collections.abc import Callable

from harmony_grammar import syntax_errors as errors
from harmony_grammar._tables import RESERVED
from harmony_grammar.automaton import END, MAX_DEPTH, Fault
from harmony_grammar.diagnostics import Diagnostic, change, meant
from harmony_grammar.foreign import (
    detached_unit,
    foreign_comment,
    malformed_number,
    operator_elsewhere,
    string_prefix,
)
from harmony_grammar.lexer import (
    DECLARATION_WORDS,
    OPERATORS,
    STRINGS,
    WORDS,
    Token,
    begins_declaration,
)
from harmony_grammar.literal_errors import QuoteInString, QuoteInTemplate
from harmony_grammar.mending import ENDS, Mend, found, without
from harmony_grammar.records import replace
from harmony_grammar.regions import regions, skeleton
from harmony_grammar.scene import Scene
from harmony_grammar.source import Source

FORMS = {
    "recipe": "recipe NAME { … }",
    "import": 'import "path.recipe" as NAME { … }',
    "input": "input NAME: TYPE = default where condition",
    "save": "save MODEL as KEY { … }",
}

_JOINTS = frozenset(("and", "or", "in", "then", "else", "where", "as"))
_BEGINS_VALUE = frozenset(("NAME", "NUMBER", *STRINGS, "true", "false", "none", "not", "if", "BROKEN"))


# --- the beginning of a declaration ---------------------------------------------------------------------


def begin_declaration(tokens: list[Token], source: Source) -> Mend:
    """The tokens with the first one turned into the kind of its declaration word."""
    first = tokens[0]
    second, third = (tokens[i] if i < len(tokens) else Token(END, "", first.end, first.end) for i in (1, 2))
    span = source.span(first.start, first.end)
    if first.kind == "NAME" and first.text in DECLARATION_WORDS:
        return Mend(None, _begun(first.text, tokens))
    if first.kind in ("//", "/", "-"):
        return Mend(foreign_comment(first, source), None)
    if first.kind == "BROKEN":
        return Mend(None, None)
    if first.kind == "NAME" and second.kind in ("NAME", *STRINGS, *RESERVED):
        from difflib import get_close_matches

        close = get_close_matches(first.text, DECLARATION_WORDS, n=1)
        finding = errors.UnknownDeclaration(
            span=span,
            word=first.text,
            known=_either([f"`{word}`" for word in DECLARATION_WORDS], "and"),
            suggestion=close[0] if close else "",
        )
        word = close[0] if close else _likely_word(second, third)
        if close and third.kind in ("=", ":", "as", "{", END):
            certain = bool(get_close_matches(first.text, [word], cutoff=0.75))
            finding = replace(finding, fixes=meant(span, word, safe=certain))
        changed_places = second.text in DECLARATION_WORDS
        return Mend(finding, _begun(word, tokens) if word else None, lost=changed_places)
    if first.kind in WORDS or first.kind in STRINGS:
        word = {"=": "let", ":": "input", "as": "import"}.get(second.kind, "")
        if word and (first.kind == "NAME") == (word != "import"):
            place = Token(word, word, first.start, first.start)
            return Mend(errors.OutsideOfBlock.of(span, word), _begun(word, [place, *tokens]))
        if first.kind == "NAME" and second.kind == "{":
            return Mend(errors.OutsideOfBlock.of(span, "let"), None)
    return Mend(errors.Unexpected(span=span, expected="a declaration", found=found(first)), None)


def _begun(word: str, tokens: list[Token]) -> list[Token]:
    return [tokens[0]._replace(kind=DECLARATION_WORDS[word], text=word), *tokens[1:]]


def _likely_word(second: Token, third: Token) -> str:
    """What a declaration with an unknown first word is likely to be."""
    if second.kind in STRINGS:
        return "import"
    return {"=": "let", ":": "input", "as": "save", "{": "recipe"}.get(third.kind, "")


# --- mistakes with a message of their own ---------------------------------------------------------------


def explain(tokens: list[Token], fault: Fault, source: Source) -> Mend:
    scene = Scene(tokens, fault, source)
    if scene.token.kind == "BROKEN":
        return without(scene, None)
    if fault.too_deep:
        return without(scene, errors.TooDeep(span=scene.blamed, limit=MAX_DEPTH))
    for recognise in _MISTAKES:
        mend = recognise(scene)
        if mend:
            return mend
    # Behind a value at the top level: a declaration that lost its word.
    begins = not scene.brackets and scene.token.kind == "NAME" and scene.after.kind in ("=", ":")
    return replace(without(scene, _general(scene)), lost=begins)


def _template_quote(scene: Scene) -> Mend | None:
    """A string that ends inside `{{ }}`, with something behind it that does not belong there."""
    for token in reversed(scene.tokens[: scene.index]):
        for opening, closing in (("{{", "}}"), ("{%", "%}")):
            if token.kind == "STRING" and token.text.rfind(opening) > token.text.rfind(closing):
                marks = f"{opening} {closing}"
                return without(scene, QuoteInTemplate(span=scene.span(token), marks=marks))
        if token.indent >= 0:
            break
    return None


def _quote_in_string(scene: Scene) -> Mend | None:
    """`"say "hello" now"`: a word that touches the string before it."""
    before, token = scene.before, scene.token
    if before is None or before.kind != "STRING" or before.end != token.start or token.kind not in WORDS:
        return None
    return without(scene, QuoteInString.at(scene.span(before)))


def _branches(scene: Scene) -> Mend | None:
    kind = scene.token.kind
    if "NAME" in scene.expected and not scene.wants_value:
        return None  # a reserved word that shall be a name
    if kind in ("then", "else") and scene.token.indent < 0 and not _has_if(scene):
        return without(scene, errors.ThenWithoutIf.at(scene.span(scene.token)))
    if "false" in scene.expected:
        return None  # any word could be a key here
    for word in ("then", "else"):
        if word in scene.expected and (kind in ENDS or kind == "else" or word not in _item_words(scene)):
            return without(scene, errors.IfWithoutBranch(span=scene.blamed, word=word))
    if kind in ("then", "else"):
        return without(scene, errors.ThenWithoutIf.at(scene.span(scene.token)))
    return None


def _has_if(scene: Scene) -> bool:
    start, _ = next(regions(scene.tokens, scene.index), (0, 0))
    return any(token.kind == "if" for token in scene.tokens[start : scene.index])


def _item_words(scene: Scene) -> set[str]:
    _, stop = next(regions(scene.tokens, scene.index), (0, len(scene.tokens)))
    return {token.kind for token in scene.tokens[scene.index : stop]}


def _two_declarations(scene: Scene) -> Mend | None:
    begin = scene.index + (scene.token.kind == ",")
    if scene.index < 2 or scene.brackets or not begins_declaration(scene.tokens[begin : begin + 2]):
        return None
    before, second = scene.tokens[scene.index - 1], scene.tokens[begin]
    gap = scene.source.span(before.end, second.start)
    if begin > scene.index and second.indent >= 0:
        needless = change("leave out the comma", scene.span(scene.token), "", safe=True)
        return Mend(
            replace(_general(scene), fixes=needless), scene.tokens[: scene.index], scene.tokens[begin:]
        )
    finding = errors.DeclarationsOnOneLine.behind(gap, scene.span(second))
    return Mend(finding, scene.tokens[: scene.index], scene.tokens[begin:])


def _missing_name(scene: Scene) -> Mend | None:
    word = scene.tokens[0].text if scene.tokens else ""
    if scene.index != 1 or scene.token.kind not in ("=", ":", "{", END) or "NAME" not in scene.expected:
        return None
    if scene.wants_value:
        return None
    finding = errors.MissingName(
        span=scene.span(scene.tokens[0]), word=word, form=FORMS.get(word, f"{word} NAME = value")
    )
    # A recipe without a name still has its fields.
    return Mend(finding, scene.insert("NAME") if word == "recipe" and scene.token.kind == "{" else None)


def _word_twice(scene: Scene) -> Mend | None:
    """`train train warm = …`."""
    if scene.index != 2 or scene.token.kind != "NAME" or scene.brackets:
        return None
    word, again = scene.tokens[:2]
    if again.kind != "NAME" or again.text != word.text:
        return None
    rest = scene.source.span(again.start, scene.token.start)
    finding = errors.Unexpected(
        span=scene.span(again),
        expected="a name",
        found=found(again),
        advice=f"`{again.text}` stands twice",
        fixes=change("remove it", rest, "", safe=True),
    )
    return Mend(finding, [word, *scene.tokens[2:]])


def _incomplete_declaration(scene: Scene) -> Mend | None:
    """`evaluate compare { … }`, which lacks a name, and `model tiny { … }`, which lacks a constructor."""
    word, token = scene.tokens[0] if scene.tokens else scene.token, scene.token
    if scene.index != 2 or word.kind != "VALUE" or token.kind not in ("{", "("):
        return None
    name = scene.tokens[1]
    head = scene.source.text[name.start : token.end]
    finding = errors.IncompleteDeclaration(
        span=scene.span(token), word=word.text, name=name.text, bracket=token.kind, head=head
    )
    return Mend(finding, None)


def _missing_as(scene: Scene) -> Mend | None:
    """`save x "key"`, `save x = "key"`, `import "path" x`."""
    token, before = scene.token, scene.before
    if scene.brackets or before is None or scene.tokens[0].kind not in ("SAVE", "IMPORT"):
        return None
    if "as" not in scene.expected or before.kind == scene.tokens[0].kind:
        return None
    fitting = ("NAME", *STRINGS) if scene.tokens[0].kind == "SAVE" else ("NAME",)
    if token.kind in ("=", ":") and scene.after.kind in fitting:
        fixes, tokens = meant(scene.span(token), "as", safe=True), scene.replace("as")
    elif token.kind in fitting:
        fixes, tokens = change("add `as`", scene.behind(before), " as", safe=True), scene.insert("as")
    else:
        return None
    form = FORMS[scene.tokens[0].text]
    said = found(token)
    return Mend(
        errors.Unexpected(span=scene.span(token), expected="`as`", found=said, form=form, fixes=fixes),
        tokens,
    )


def _reserved_word(scene: Scene) -> Mend | None:
    before = scene.before
    if scene.token.kind not in RESERVED or "NAME" not in scene.expected or before is None:
        return None
    named = not scene.wants_value
    used = scene.after.kind in ENDS and before.kind in ("=", "(", "[", ",")
    if named or used:
        return Mend(errors.ReservedWord.at(scene.span(scene.token)), scene.replace("NAME"))
    return None


def _missing_value(scene: Scene) -> Mend | None:
    before = scene.before
    if before is None or "NAME" not in scene.expected or "BROKEN" not in scene.expected:
        return None
    if scene.token.kind not in ENDS | _JOINTS and scene.token.indent < 0:
        return None
    kind = "value" if scene.wants_value else "type"
    if before.kind in ("=", ":"):
        of_input = before.kind == "=" and scene.tokens[0].kind == "INPUT" and not scene.brackets
        subject, lacks = scene.tokens[1 if of_input else scene.index - 2].text, kind
    elif before.kind in OPERATORS or before.kind in RESERVED:
        subject, lacks = before.text, f"{kind} behind it"
    else:
        return None
    finding = errors.MissingValue.of(scene.behind(before), f"`{subject}`", lacks, f"a {kind}")
    return Mend(finding, scene.insert("BROKEN"))


def _bare_if(scene: Scene) -> Mend | None:
    before = scene.before
    if (
        scene.token.kind != "if"
        or before is None
        or before.kind not in OPERATORS | {"and", "or", "not", "in"}
    ):
        return None
    return without(scene, errors.BareIf(span=scene.span(scene.token), operator=before.text))


def _colon(scene: Scene) -> Mend | None:
    if scene.token.kind != ":" or "=" not in scene.expected:
        return None
    return Mend(errors.ColonForEquals.at(scene.span(scene.token)), scene.replace("="))


def _comparison(scene: Scene) -> Mend | None:
    if scene.token.kind != "=" or "==" not in scene.expected:
        return None
    span = scene.span(scene.token)
    start, _ = next(regions(scene.tokens, scene.index), (0, 0))
    if not any(token.kind in _CONDITIONS for token in scene.tokens[max(start - 1, 0) : scene.index]):
        return without(scene, errors.EqualsForComparison.at(span, safe=False))
    return Mend(errors.EqualsForComparison.at(span, safe=True), scene.replace("=="))


_CONDITIONS = frozenset(("if", "where", "and", "or", "not"))
"""Words behind which a `=` can only be meant to compare."""


def _missing_comma(scene: Scene) -> Mend | None:
    before, token = scene.before, scene.token
    if before is None or "," not in scene.expected or not scene.bracket:
        return None
    if scene.bracket == "{":
        is_next = (token.kind in WORDS or token.kind in STRINGS) and scene.after.kind in ("=", "{")
    else:
        is_next = token.kind in _BEGINS_VALUE
    if not is_next:
        return None
    place = scene.behind(before)
    span = place if token.indent >= 0 else scene.span(token)
    # Two values side by side may also have lost an operator.
    is_field = scene.after.kind == "=" or scene.bracket == "{"
    finding = errors.MissingComma.before(span, place, safe=is_field)
    if scene.bracket == "(" and not is_field:
        return without(scene, finding)
    tokens = scene.insert(",")
    if scene.bracket == "(" and before.kind == "NAME" and scene.at(scene.index - 2).kind in ("(", ","):
        # `model model = …`: the first word may just as well be one too many.
        tokens[scene.index - 1] = before._replace(kind="BROKEN")
    return Mend(finding, tokens)


def _missing_equals(scene: Scene) -> Mend | None:
    before, token = scene.before, scene.token
    if before is None or "=" not in scene.expected:
        return None
    if token.kind in ENDS and (scene.bracket == "{" or not scene.brackets):
        lost = errors.MissingValue.of(scene.behind(before), f"`{before.text}`", "value", "`=` and a value")
        return Mend(lost, scene.insert("=", "BROKEN"))
    if token.kind not in _BEGINS_VALUE | {"[", "{", "-"}:
        return None
    if scene.after.kind == "=":  # two words changed places, or one is too many
        mend = without(scene, _general(scene))
        return mend if scene.bracket else replace(mend, tokens=skeleton(scene.tokens), lost=True)
    safe = scene.bracket == "{"
    finding = errors.MissingEquals.between(scene.span(before), scene.span(token), safe=safe)
    return Mend(finding, scene.insert("="))


_MISTAKES: tuple[Callable[[Scene], Mend | None], ...] = (
    _template_quote,
    _quote_in_string,
    string_prefix,
    _two_declarations,
    operator_elsewhere,
    malformed_number,
    detached_unit,
    _branches,
    _missing_name,
    _word_twice,
    _incomplete_declaration,
    _missing_as,
    _bare_if,
    _reserved_word,
    _missing_value,
    _colon,
    _comparison,
    _missing_comma,
    _missing_equals,
)

# --- everything else ------------------------------------------------------------------------------------


def _general(scene: Scene) -> Diagnostic:
    word = scene.tokens[0].text if scene.tokens else ""
    in_head = not scene.brackets and word in FORMS
    instead = _INSTEAD.get(scene.token.text, "")
    fits = instead in scene.expected
    return errors.Unexpected(
        span=scene.blamed,
        expected=_people(scene.expected),
        found=found(scene.token, breaks_off=scene.at_line_end),
        form=FORMS[word] if in_head else "",
        advice=_ADVICE.get(scene.token.text, ""),
        fixes=meant(scene.span(scene.token), instead, safe=True) if fits else (),
    )


_INSTEAD = {"|": "or", "is": "==", "==": "=", "eq": "=="}
"""What is written in place of a sign or word, where that fits."""


_ADVICE = {
    "|": "for a choice between conditions write `or`",
    "is": "to compare write `==`",
    "==": "a value is given with `=`",
    "elif": "write `else (if … then … else …)`",
}


def _people(kinds: frozenset[str]) -> str:
    """Kinds of tokens in words."""
    if "NUMBER" in kinds:
        return "a value"
    words: list[str] = []
    if "then" in kinds and "BROKEN" in kinds:
        words.append("a field")
    elif "then" in kinds and "NAME" in kinds:
        words.append("a name")
    elif "none" in kinds:
        words.append("a type")
    else:
        words += [name for kind, name in (("NAME", "a name"), ("STRING", "a string")) if kind in kinds]
    signs = ["=", ":", ",", ")", "]", "}", "|"]
    signs += ["as", "where", "then", "else"] if "NAME" not in kinds else []
    words += [f"`{sign}`" for sign in signs if sign in kinds]
    if "NEWLINE" in kinds and "," in kinds:
        words.append("a new line")
    if END in kinds and not words:
        words.append("the end of the declaration")
    return _either(words or ["something else"], "or")


def _either(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
