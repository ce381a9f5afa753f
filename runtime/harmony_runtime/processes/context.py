"""Devices and processes: the one room that knows Accelerate.

Takes what the launch asks for; gives the device, the arithmetic, and what processes tell one another.

Everything under "What processes tell one another" must be called by all of them, in the same order.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.utils import gather_object
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from harmony_compiler.graph.graph import Launch
from harmony_runtime.chance import seeded_globally
from harmony_runtime.cores import cores
from harmony_runtime.failures import RunFailed
from harmony_runtime.processes.lifelines import Lifelines
from harmony_runtime.processes.pulse import Pulse

if TYPE_CHECKING:
    pass

T = TypeVar("T")

_DATA_PARALLEL = (
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.MULTI_XPU,
    DistributedType.MULTI_NPU,
)


class Context:
    def __init__(self, launch: Launch) -> None:
        """Meet the other processes, if there are any.

        Raises:
            RunFailed: what runs is not what `launch` asks for.
        """
        self.pulse = Pulse()
        """What this process does, and when something last moved."""
        self._asked = launch.world_size
        self.shard = launch.shard
        """Whether the processes share the weights of what they train."""
        _refuse_other_launch(launch)
        on_cpu = _computes_on_cpu(launch)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")  # said below, in our own words
            try:
                self._accelerator = Accelerator(
                    # The arithmetic follows each model's `dtype`, so Accelerate has no say in it.
                    mixed_precision="no",
                    cpu=on_cpu,
                    # The buffers of language models are constants: to tell them before a forward pass would
                    # make each pass a meeting of all processes.
                    kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
                )
            except RuntimeError as fault:
                if launch.world_size == 1:
                    raise
                raise RunFailed(f"the processes did not find one another: {fault}", exit_code=2) from fault
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.world_size: int = self._accelerator.num_processes
        self.is_main: bool = self._accelerator.is_main_process
        self._assert_launch(f"{self.world_size} with Accelerate's type {self._type.value}")
        self._devices: dict[int, DeviceMesh] = {}
        self._lifelines = Lifelines(self.rank, self.gather) if self.world_size > 1 else None
        if self.device.type == "cpu" and self.world_size > 1 and not os.environ.get("OMP_NUM_THREADS"):
            # Processes that each take all cores get in one another's way.
            torch.set_num_threads(max(1, cores() // (launch.world_size // launch.nodes)))

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        """Put a model on the device, and where there are several processes, let them share gradients.

        Raises:
            RunFailed: they would not.
        """
        with warnings.catch_warnings():
            # The word that replaces it is unknown to Accelerate.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            prepared = cast(torch.nn.Module, self._accelerator.prepare_model(model))
        if self._asked > 1 and not isinstance(prepared, DistributedDataParallel):
            self._refuse(f"a model of the type {type(prepared).__name__}, which shares no gradients")
        self._assert_launch(f"{self._accelerator.num_processes} with Accelerate's type {self._type.value}")
        return prepared

    def accumulating(self, model: torch.nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around a micro-batch: gradients are averaged over the processes with the step's last one only."""
        return nullcontext() if last else cast(AbstractContextManager[Any], self._accelerator.no_sync(model))

    def arithmetic(self, dtype: str) -> AbstractContextManager[Any]:
        """Around a forward pass: `auto` computes in bfloat16 where the device is made for it."""
        self.pulse.beat()  # training, scoring and drawing all come here
        return torch.autocast("cuda", torch.bfloat16) if self.autocasts(dtype) else nullcontext()

    def autocasts(self, dtype: str) -> bool:
        """Whether `arithmetic` computes in bfloat16."""
        made_for_it = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return dtype == "auto" and made_for_it

    # What processes tell one another.

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            with self._meeting():
                self._accelerator.wait_for_everyone()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        if self.world_size == 1:
            return list(values)
        return cast(list[float], self.total(torch.tensor(values, dtype=torch.float64)).tolist())

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor on the CPU summed over the processes."""
        if self.world_size == 1:
            return tensor
        with self._meeting():
            return cast(torch.Tensor, self._accelerator.reduce(tensor.to(self.device), "sum")).cpu()

    def gather(self, items: list[T]) -> list[T]:
        """The items of all processes, those of process 0 first. They may be any Python objects."""
        if self.world_size == 1:
            return items
        with self._meeting():
            # Pickled on the way, from and to processes of our own only.
            return cast(list[T], gather_object(items))

    def devices(self, tp: int) -> DeviceMesh:
        """The processes in rows of `tp` neighbours: along `parts` those of a copy, along `copies` those that
        hold the same part. All must ask, the first time."""
        if tp not in self._devices:
            shape = (self.world_size // tp, tp)
            with self._meeting():
                self._devices[tp] = init_device_mesh(
                    self.device.type, shape, mesh_dim_names=("copies", "parts")
                )
        return self._devices[tp]

    def _meeting(self) -> AbstractContextManager[None]:
        return self.pulse.doing("waiting for the other processes")

    def leave(self) -> None:
        """Part from the other processes, however a run has ended."""
        if self.world_size > 1 and self.device.type == "cpu" and torch.distributed.is_initialized():
            # Else threads of gloo's groups may abort the process while it ends. (NCCL has no such fault, and
            # would wait here for what another process never sends.)
            torch.distributed.destroy_process_group()
        if self._lifelines is not None:
            self._lifelines.leave()  # last: where the above waits for a lost process, they end it

    def free(self) -> None:
        """Forget the models of a finished stage."""
        self._accelerator.free_memory()

    def seeded(self, seed: int, purpose: str, step: int = 0) -> AbstractContextManager[None]:
        """`seeded_globally` on this context's device."""
        return seeded_globally(seed, purpose, step, device=self.device)

    @property
    def _type(self) -> DistributedType:
        return self._accelerator.distributed_type

    def _assert_launch(self, came: str) -> None:
        """Accelerate falls back to fewer processes, and to another way of sharing, without a word."""
        here = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        as_asked = self._accelerator.num_processes == here == self._asked
        if not as_asked or (self._asked > 1 and self._type not in _DATA_PARALLEL):
            self._refuse(came)

    def _refuse(self, came: str) -> None:
        raise RunFailed(
            f"{_processes(self._asked)} that share their gradients were asked for, and what came is {came}. "
            "An environment variable that begins with ACCELERATE_ may ask for something else: unset it",
            exit_code=2,
        )


def lost_process(fault: BaseException) -> bool:
    """Whether an error says that another process of the run has gone."""
    # By words: gloo's errors are plain RuntimeErrors.
    words = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")
    text = str(fault).lower()
    return isinstance(fault, torch.distributed.DistError) or (
        isinstance(fault, RuntimeError) and any(word in text for word in words)
    )


def _refuse_other_launch(launch: Launch) -> None:
    """Before anybody waits for processes that were never started."""
    if launch.shard and launch.world_size == 1:
        raise RunFailed(
            "`--shard` keeps the weights in parts, one a process, and there is one process: give "
            "`--num-processes` 2 or more, or leave it out"
        )
    here = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1
    if here != launch.world_size:
        raise RunFailed(
            f"the recipe was compiled for {_processes(launch.world_size)}, and what runs is "
            f"{_processes(here)}: compile it with `--num-processes {here}`, or let `harmonyc run` start them",
            exit_code=2,
        )
    per_machine = int(os.environ.get("LOCAL_WORLD_SIZE", launch.gpus_per_node))
    if launch.world_size > 1 and per_machine != launch.gpus_per_node:
        raise RunFailed(
            f"the recipe was compiled for {_processes(launch.gpus_per_node)} on each machine, and "
            f"{per_machine} run on this one: `--num-machines` must be the number of machines",
            exit_code=2,
        )


def _computes_on_cpu(launch: Launch) -> bool:
    """Whether the processors are the devices, asked for or for want of others."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return True
    device = torch.accelerator.current_accelerator(check_available=True)
    if launch.world_size == 1:
        return False  # Accelerate takes what is there
    if device is None or device.type == "mps":  # Apple's devices cannot talk to one another
        return True
    there = torch.accelerator.device_count()
    if there < launch.gpus_per_node:
        raise RunFailed(
            f"{_processes(launch.gpus_per_node)} on one machine need as many devices, and this one has "
            f"{there}: start {there}, or set ACCELERATE_USE_CPU=true to compute on the processor",
            exit_code=2,
        )
    return False


def _processes(number: int) -> str:
    return f"{number} process" if number == 1 else f"{number} processes"
