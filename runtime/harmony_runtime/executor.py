"""The executor: walks a graph and leaves a run folder and saved models behind.

A graph holds what its outputs need and nothing else, each node after everything that it reads.

First everything that can be known without weights: the graph, the registry's keys, models' configurations and
tokenizers, all rows of all datasets in tokens. Only then stages train, one after another, what is asked for
is saved, and evaluations measure.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import LoadSettings
from harmony_compiler.graph.outputs import Save
from harmony_compiler.graph.support import unsupported
from harmony_runtime.algorithms.table import TRAININGS
from harmony_runtime.context import Context, lost_process
from harmony_runtime.failures import Interrupted, LostProcess, RunFailed, machine_faults, place
from harmony_runtime.interrupts import Interrupts, Stop
from harmony_runtime.quiet import silence_libraries
from harmony_runtime.runfolder import RunFolder
from harmony_runtime.walk import Walk
from harmony_runtime.watch import Summary, Watcher


def run(graph: Graph, out: Path, *, watcher: Watcher, registry: Path, resume: bool = False) -> Summary:
    """Train what `graph` asks for, in the folder `out`, and save into `registry`; the cache stands
    beside it.

    With `resume`, `out` may be the folder of an earlier run: what it finished is reused by identity, and an
    interrupted stage goes on where it stopped.

    Raises:
        RunFailed: the recipe, its data or the machine is at fault.
        Interrupted: Ctrl-C or SIGTERM asked the run to stop.
    """
    registry = registry.absolute()
    silence_libraries()
    with Interrupts() as interrupts:
        _refuse_unknown(graph)
        context = Context(graph.launch)
        folder: RunFolder | None = None
        try:
            folder = _open(out, graph, context, resume=resume)
            walk = Walk(
                graph,
                folder,
                context=context,
                watcher=watcher,
                registry=registry,
                cache=registry.parent / "cache",
                interrupts=interrupts,
            )
            summary = walk.all()
            context.wait()
        except KeyboardInterrupt as stop:
            code = stop.exit_code if isinstance(stop, Stop) else 130
            raise _interrupted(folder, out, code) from stop
        except RunFailed as fault:
            _note_exit(folder, fault.exit_code, str(fault))
            if folder is not None and not resume:
                folder.discard_if_untouched()
            raise
        except Exception as fault:
            if context.world_size > 1 and lost_process(fault):
                if interrupts.pending:  # the other one stopped first
                    raise _interrupted(folder, out, interrupts.stop().exit_code) from fault
                _note_exit(folder, LostProcess().exit_code, str(LostProcess()))
                raise LostProcess from fault
            _note_exit(folder, 2, f"{type(fault).__name__}: {fault}")
            raise
        finally:
            context.leave()
        _note_exit(folder, 0, "done")
    if context.is_main:
        watcher.finished(summary)
    return summary


def _open(out: Path, graph: Graph, context: Context, *, resume: bool) -> RunFolder:
    """The run's folder, which is what the main process calls it: a default name depends on the moment."""
    (out, *_) = context.gather([out.absolute()])
    opened = None
    if context.is_main:
        with machine_faults("preparing the run's folder"):
            opened = RunFolder.open(out, graph, resume=resume)
    context.wait()
    return opened or RunFolder.join(out)


def _interrupted(folder: RunFolder | None, out: Path, code: int) -> Interrupted:
    _note_exit(folder, code, "interrupted")
    return Interrupted(folder.kept() if folder else f"{out} keeps nothing", code)


def _refuse_unknown(graph: Graph) -> None:
    for part in unsupported(graph):
        raise RunFailed(f"{place(graph, part.ref)}{part.what} is not supported yet", exit_code=1)
    for ref, node in graph.nodes.items():
        if isinstance(node, Algorithm) and type(node) not in TRAININGS:
            raise RunFailed(
                f"{place(graph, ref)}this version cannot train with `{node.constructor}`", exit_code=2
            )
        if not isinstance(node, Algorithm | LoadSettings | Drawn | Grader | Compare | Save):
            raise RunFailed(f"{place(graph, ref)}this version cannot run `{node.constructor}`", exit_code=2)


def _note_exit(folder: RunFolder | None, code: int, reason: str) -> None:
    """How the run ended, where its folder is open. A disk that is full must not hide why."""
    with suppress(OSError):
        if folder is not None:
            folder.note(exit={"code": code, "reason": reason})
