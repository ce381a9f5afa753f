"""The executor: walks a graph and leaves a run folder and saved models behind.

A graph holds what its outputs need and nothing else, each node after everything that it reads.

First everything that can be known without weights: the graph, the registry's keys, models' configurations and
tokenizers, all rows of all datasets in tokens. Only then stages train, one after another, what is asked for
is saved, and evaluations measure.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from harmony_compiler.graph.algorithms import Algorithm
from harmony_compiler.graph.datasets import Drawn
from harmony_compiler.graph.evaluations import Compare
from harmony_compiler.graph.graders import Grader
from harmony_compiler.graph.graph import Graph
from harmony_compiler.graph.models import Endpoint, LoadSettings
from harmony_compiler.graph.outputs import Save
from harmony_runtime.algorithms.table import TRAININGS
from harmony_runtime.disk import locks
from harmony_runtime.disk.runfolder import RunFolder, refuse_foreign
from harmony_runtime.failures import Interrupted, LostProcess, RunFailed, machine_faults, place
from harmony_runtime.processes.context import Context, lost_process
from harmony_runtime.processes.interrupts import Interrupts, Stop
from harmony_runtime.processes.pulse import Stall
from harmony_runtime.published import with_published
from harmony_runtime.quiet import silence_libraries
from harmony_runtime.run.pins import refuse_changed_graders
from harmony_runtime.run.reuse import refuse_unfit
from harmony_runtime.run.walk import Walk
from harmony_runtime.secrets import refuse_unset
from harmony_runtime.watch import Summary, Watcher


def run(
    graph: Graph,
    out: Path,
    *,
    watcher: Watcher,
    registry: Path,
    resume: bool = False,
    reuse: Path | None = None,
    allow_drift: bool = False,
    max_time: float | None = None,
) -> Summary:
    """Train what `graph` asks for, in the folder `out`, and save into `registry`; the cache stands
    beside it.

    With `resume`, `out` may be the folder of an earlier run: what it finished is reused by identity, and an
    interrupted stage goes on where it stopped. That is refused under other conditions, such as other versions
    of libraries; with `allow_drift` it goes on, and the manifest says so. `reuse` is the folder of another
    run, whose finished stages are taken over. After `max_time` seconds the run stops as a signal stops it.

    Raises:
        RunFailed: the recipe, its data or the machine is at fault.
        Interrupted: Ctrl-C or SIGTERM asked the run to stop, or its time is over.
    """
    registry = registry.absolute()
    silence_libraries()
    with Interrupts(max_time) as interrupts, ExitStack() as held:
        refuse_changed_graders(graph, registry)
        graph = with_published(graph, registry.parent)
        _refuse_unknown(graph)
        refuse_unset(graph)
        if reuse is not None:
            refuse_unfit(reuse := reuse.absolute(), out)
        context = Context(graph.launch)
        folder: RunFolder | None = None
        try:
            folder = _open(out, graph, context, held, resume=resume)
            if context.is_main:
                held.enter_context(locks.of_keys(graph, registry, folder.path))
            walk = Walk(
                graph,
                folder,
                context=context,
                watcher=watcher,
                registry=registry,
                cache=registry.parent / "cache",
                interrupts=interrupts,
                reused=reuse,
                allow_drift=allow_drift,
            )
            tell = partial(_tell_stall, folder, context, watcher)
            with context.pulse.doing(f"running {graph.name}"), context.pulse.watched(tell):
                summary = walk.all()
                context.wait()
        except KeyboardInterrupt as stop:
            raise _interrupted(folder, out, stop) from stop
        except RunFailed as fault:
            _note_exit(folder, fault.exit_code, str(fault))
            if folder is not None and not resume:
                folder.discard_if_untouched()
            raise
        except Exception as fault:
            if context.world_size > 1 and lost_process(fault):
                if interrupts.pending:  # the other one stopped first
                    raise _interrupted(folder, out, interrupts.stop()) from fault
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


def _open(out: Path, graph: Graph, context: Context, held: ExitStack, *, resume: bool) -> RunFolder:
    """The run's folder, which is what the main process calls it: a default name depends on the moment.

    It is locked until `held` is left.
    """
    (out, *_) = context.gather([out.absolute()])
    opened = None
    if context.is_main:
        with machine_faults("preparing the run's folder"):
            refuse_foreign(out, resume=resume)  # before a lock is put there
            held.enter_context(locks.of_folder(out))
            opened = RunFolder.open(out, graph, resume=resume)
    context.wait()
    return opened or RunFolder.join(out)


def _interrupted(folder: RunFolder | None, out: Path, stop: KeyboardInterrupt) -> Interrupted:
    if not isinstance(stop, Stop):
        stop = Stop(signal.SIGINT)
    _note_exit(folder, stop.exit_code, stop.reason)
    return Interrupted(folder.kept() if folder else f"{out} keeps nothing", stop.exit_code, stop.reason)


def _refuse_unknown(graph: Graph) -> None:
    for ref, node in graph.nodes.items():
        if isinstance(node, Algorithm) and type(node) not in TRAININGS:
            raise RunFailed(
                f"{place(graph, ref)}this version cannot train with `{node.constructor}`", exit_code=2
            )
        if not isinstance(node, Algorithm | LoadSettings | Endpoint | Drawn | Grader | Compare | Save):
            raise RunFailed(f"{place(graph, ref)}this version cannot run `{node.constructor}`", exit_code=2)


def _tell_stall(folder: RunFolder, context: Context, watcher: Watcher, stall: Stall) -> None:
    """In the folder, each process its own; and to people."""
    told = folder.path / "stalled.txt"
    if context.is_main:
        watcher.warning(f"{stall.words}; it stands at {stall.place}: see {told}")
    with told.open("a", encoding="utf-8") as file:
        file.write(f"process {context.rank} of {context.world_size}: {stall.words}\n{stall.stack}\n\n")


def _note_exit(folder: RunFolder | None, code: int, reason: str) -> None:
    """How the run ended, where its folder is open. A disk that is full must not hide why."""
    with suppress(RunFailed):
        if folder is not None:
            folder.note(exit={"code": code, "reason": reason})
