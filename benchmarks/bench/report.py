"""What is printed, and docs/performance.md."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.bench.cases import LR, PEER, SIZES, START_AIM, START_MUST, START_SIZE, Case
from benchmarks.bench.floor import ROWS
from benchmarks.bench.pairs import PEERS, ROOT, THREADS, peer_version
from benchmarks.bench.table import Row, Start, start_verdict, tokens, verdict
from harmony_runtime.cores import cores

PAGE = ROOT / "docs" / "performance.md"
TEMPLATE = Path(__file__).with_name("page.md")
NOTES = Path(__file__).with_name("notes.md")
"""What people have to say about the figures: it is copied."""

COLUMNS = (
    *("", "TRL, s a step", "ours, s a step", "TRL ÷ ours", "of pairs", "must / aim", ""),
    *("CPU s, TRL / ours", "floor, s", "ours ÷ floor", "peak MB, TRL / ours", "tokens a step, TRL / ours"),
)
START_COLUMNS = ("", "TRL, s", "ours, s", "TRL ÷ ours", "of pairs", "must / aim", "", "CPU s, TRL / ours")


def cells(row: Row) -> list[str]:
    """One line of the table."""
    measured, case = row.measured, row.case
    peer, own = measured.peer, measured.own
    theirs, ours = tokens(measured)
    return [
        f"{case.algorithm} {case.size.name}",
        spread(peer.seconds),
        spread(own.seconds),
        f"{measured.ratio:.2f}",
        f"{min(measured.ratios):.2f}–{max(measured.ratios):.2f}",
        f"{case.must:g} / {case.aim:g}",
        verdict(measured.ratio, case.must, case.aim),
        f"{peer.busy:.3g} / {own.busy:.3g}",
        f"{row.floor:.3g}",
        f"{median(own.seconds) / row.floor:.1f}",
        f"{peer.peak / 1e6:.0f} / {own.peak / 1e6:.0f}",
        f"{theirs:,.0f} / {ours:,.0f}",
    ]


def start_cells(start: Start) -> list[str]:
    peer, own = start.seconds
    ratios = [a / b for a, b in zip(peer, own, strict=True)]
    return [
        f"{start.algorithm} {START_SIZE}",
        spread(peer),
        spread(own),
        f"{start.ratio:.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}",
        f"{START_MUST:g} / {START_AIM:g}",
        start_verdict(start),
        "{:.3g} / {:.3g}".format(*start.busy),
    ]


def spread(seconds: Sequence[float]) -> str:
    """The median, and the least and the most."""
    return f"{median(seconds):.3g} ({min(seconds):.3g}–{max(seconds):.3g})"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown, and in columns for people who read it as it stands."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def line(row: Row) -> str:
    """For who waits: the middle of a table that is not finished."""
    name, theirs, ours, ratio, of_pairs, promised, word, busy, *_ = cells(row)
    return f"{name:11} TRL {theirs}, ours {ours}: {ratio} ({of_pairs}; {promised}) {word}; CPU s {busy}"


def start_line(start: Start) -> str:
    name, theirs, ours, ratio, of_pairs, promised, word, busy = start_cells(start)
    return f"start {name:9} TRL {theirs}, ours {ours}: {ratio} ({of_pairs}; {promised}) {word}; CPU s {busy}"


def tables(rows: Sequence[Row], starts: Sequence[Start]) -> Iterator[str]:
    if rows:
        yield table(COLUMNS, [cells(row) for row in rows])
    if starts:
        yield table(START_COLUMNS, [start_cells(start) for start in starts])


def write(
    rows: Sequence[Row], starts: Sequence[Start], rates: Mapping[str, float], pairs: int, seconds: float
) -> Path:
    """The page; everything on it comes from this run, but for the notes."""
    steps, first = tables(rows, starts)
    text = TEMPLATE.read_text(encoding="utf-8").format(
        steps=steps,
        first=first,
        unmet="\n".join(_unmet(rows, starts)),
        notes=NOTES.read_text(encoding="utf-8").strip(),
        pairs=pairs,
        minutes=round(seconds / 60),
        machine=_machine(),
        versions=_versions(),
        peers=", ".join(
            (peer_version("sft"), *(f"for {name.upper()} {version}" for name, version in PEERS.items()))
        ),
        threads=THREADS,
        lr=LR,
        sizes=_sizes(),
        work=_work([row.case for row in rows]),
        tried=_tried(),
        rates=_rates(rates),
    )
    PAGE.write_text(text, encoding="utf-8")
    return PAGE.relative_to(ROOT)


def _unmet(rows: Sequence[Row], starts: Sequence[Start]) -> Iterator[str]:
    missed = [
        f"{row.case.algorithm} {row.case.size.name}" for row in rows if row.measured.ratio < row.case.aim
    ] + [f"start of {start.algorithm}" for start in starts if start.ratio < START_AIM]
    yield f"Below their aim: {', '.join(missed)}." if missed else "Every aim is met."
    if found := faults(rows, starts):
        yield ""
        yield from (f"- {fault}" for fault in found)


def faults(rows: Sequence[Row], starts: Sequence[Start]) -> list[str]:
    """What makes the command fail."""
    return [
        *(fault for row in rows for fault in row.faults),
        *(fault for start in starts for fault in start.faults),
    ]


def _machine() -> str:
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in words if line.startswith("model name")), name)
    return f"{name}, {cores()} cores, {platform.system()}"


def _versions() -> str:
    from importlib.metadata import version

    names = ("torch", "transformers", "accelerate", "datasets", "tokenizers")
    return f"Python {sys.version.partition(' ')[0]}, " + ", ".join(
        f"{name} {version(name)}" for name in names
    )


def _sizes() -> str:
    return table(
        ("size", "weights", "layers", "hidden", "heads (keys)", "MLP", "vocabulary", "longest completion"),
        [
            (
                size.name,
                f"{size.layer_weights + size.head_weights:,}",
                str(size.layers),
                str(size.hidden),
                f"{size.heads} ({size.kv_heads})",
                str(size.mlp),
                f"{size.vocabulary:,}",
                str(size.max_tokens),
            )
            for size in SIZES.values()
        ],
    )


def _work(cases: Sequence[Case]) -> str:
    return table(
        ("", "samples a step", "steps a block"),
        [(f"{case.algorithm} {case.size.name}", str(case.batch), str(case.block)) for case in cases],
    )


def _tried() -> str:
    found = [
        f"- {algorithm} at {'33M' if large else '0.2M and 1M'}: "
        + ", ".join(f"`{name} = {value}`" for name, value in settings.items())
        for (algorithm, large), settings in PEER.items()
    ]
    return "\n".join(found) if found else "- nothing: its defaults were fastest"


def _rates(rates: Mapping[str, float]) -> str:
    return table(
        ("size", *(f"products of {rows:,} rows, GFLOP/s" for rows in ROWS.values())),
        [(name, *(f"{rates[f'{name} {kind}'] / 1e9:.0f}" for kind in ROWS)) for name in SIZES],
    )
