"""Credentials: secrets that a recipe writes out, addresses of servers, and findings that show no secret.

An address is checked wherever a field is named `url`. A secret stands by its name, `env("NAME")`, and nowhere
else: not in an address, not in a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from harmony_compiler.findings.fields import BadAddress, CredentialInAddress, SecretAsText
from harmony_compiler.graph.node import schema
from harmony_compiler.typed import Made, Value
from harmony_grammar.diagnostics import Diagnostic, Label, meant
from harmony_grammar.masking import MASK, credentials
from harmony_grammar.records import fields, replace
from harmony_grammar.source import Source, Span
from harmony_grammar.syntax import Text

# Patterns are compiled when they are first used: few recipes name a server.
_SCHEME = r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://(.*)"
_NEARLY = r"(?is)(https?)(?::/?|//?)([^/].*)"
_HOST = r"[^\W_]([\w.-]*\w)?\.?|\[[0-9A-Fa-f:.]+\]"
_NEAR_BY = r"localhost\b|\d+\.\d+\.\d+\.\d+|[^/.]+(:\d+)?(/|$)"

SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "x-auth-token", "cookie"}
)


def exposed(text: Text) -> list[Diagnostic]:
    """`user:password@` in a literal that is an address, wherever it stands."""
    if "://" not in text.value or not re.fullmatch(_SCHEME, text.value) or re.search(r"\s", text.value):
        return []
    found = (text.span_of(start, end) for start, end, of_user in credentials(text.value) if of_user)
    return [CredentialInAddress(span=span) for span in found]


def addresses(made: Sequence[Made]) -> Iterator[Diagnostic]:
    """What is wrong with the addresses and headers in a recipe's constructors."""
    for item in made:
        url, headers = item.given.get("url"), item.given.get("headers")
        if url is not None and isinstance(url.data, str) and "url" in schema(item.cls):
            yield from _of_address(url)
        for name, value in headers.data.items() if headers and isinstance(headers.data, dict) else ():
            if name.lower() in SECRET_HEADERS and isinstance(value.data, str):
                yield SecretAsText(span=value.span, place=f"`{name}` in `headers`")


def _of_address(url: Value) -> Iterator[Diagnostic]:
    found = [(start, end) for start, end, of_user in credentials(url.data) if not of_user]
    for start, end in found:
        span = url.literal.span_of(start, end) if url.literal is not None else url.span
        yield CredentialInAddress(span=span)
    if not found and (fault := _fault(url.data)) is not None:
        cause, mend = fault
        fixes = meant(url.literal.span_of(0, len(url.data)), mend) if url.literal is not None else ()
        yield BadAddress(span=url.span, cause=cause, mend=f"write `{mend}`" if mend else "", fixes=fixes)


def _fault(url: str) -> tuple[str, str] | None:
    """Why a text is no address of a server, and what was probably meant, or nothing."""
    if url.strip() != url or re.search(r"\s", url):
        likely = "".join(url.split())
        return "there is a blank in it", likely if _fault(likely) is None else ""
    found = re.fullmatch(_SCHEME, url)
    if found is None:
        nearly = re.fullmatch(_NEARLY, url)
        scheme = "http" if re.match(_NEAR_BY, url) else "https"
        likely = f"{nearly[1]}://{nearly[2]}" if nearly else f"{scheme}://{url.lstrip('/:')}"
        cause = "does not begin with `http://` or `https://`"
        return cause, likely if url and _fault(likely) is None else ""
    scheme, rest = found[1].lower(), found[2]
    if scheme not in ("http", "https"):
        likely = f"{'https' if scheme == 'wss' else 'http'}://{rest}"
        return f"`{found[1]}` is neither `http` nor `https`", likely if _fault(likely) is None else ""
    server = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    host, _, port = server.rpartition(":") if re.search(r":[^\]]*$", server) else (server, "", "80")
    if not re.fullmatch(_HOST, host):
        return f"`{host}` is no name of a server" if host else "it names no server", ""
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return "a port is a number from 1 to 65535", ""
    return None


# --- showing no secret ----------------------------------------------------------------------------------


def without_secrets(findings: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The same findings, so that none of them shows a secret that another one found, nor names it."""
    spans = [span for finding in findings for span in (finding.span,) * finding.secret + finding.hides]
    secrets = {span.source.text[start:end] for span in spans for start, end in _written(span)}
    if not secrets:
        return list(findings)
    hidden: dict[Source, list[tuple[int, int]]] = {}
    for span in spans:
        hidden.setdefault(span.source, []).extend(p for secret in secrets for p in _places(secret, span))
    shown = {source: replace(source, hidden=tuple(places)) for source, places in hidden.items()}

    def moved(span: Span) -> Span:
        return Span(shown.get(span.source, span.source), span.start, span.end)

    def silent(value: Any) -> Any:
        if isinstance(value, str):
            for secret in sorted(secrets, key=len, reverse=True):
                value = value.replace(secret, MASK * 3) if len(secret) > 3 else value
        return value

    def masked(finding: Diagnostic) -> Diagnostic:
        words = {name: silent(getattr(finding, name)) for name in fields(finding)}
        labels = tuple(Label(moved(label.span), silent(label.message)) for label in finding.labels)
        return replace(finding, **{**words, "span": moved(finding.span), "labels": labels})

    return [masked(finding) for finding in findings]


def _places(secret: str, span: Span) -> Iterator[tuple[int, int]]:
    """Everywhere in a text where a secret stands; a short one could be a part of any word."""
    text, start = span.source.text, span.start if len(secret) <= 3 else 0
    end = span.end if len(secret) <= 3 else len(text)
    at = text.find(secret, start, end)
    while at >= 0:
        yield at, at + len(secret)
        at = text.find(secret, at + len(secret), end)


_QUOTED = r'(?s)"""(.+?)"""|"((?:[^"\\]|\\.)+)"|([0-9]\S*)'


def _written(span: Span) -> Iterator[tuple[int, int]]:
    """Where a secret itself is written: inside the quotes; a name that stands for it tells nothing."""
    if '"' not in span.text and span.text.isidentifier():
        return
    found = list(re.finditer(_QUOTED, span.text))
    for match in found:
        assert match.lastindex is not None
        start, end = match.span(match.lastindex)
        yield span.start + start, span.start + end
    if not found:
        yield span.start, span.end
