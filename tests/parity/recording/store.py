"""Where recordings stand: one JSON file and one file of tensors for each algorithm."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

RECORDED = Path(__file__).parents[1] / "recorded"


class Store:
    def __init__(self, name: str) -> None:
        self._name = name
        self.facts: dict[str, Any] = {"cases": []}
        self.tensors: dict[str, torch.Tensor] = {}

    def case(self, name: str, gradients: dict[str, torch.Tensor], **facts: Any) -> None:
        """A case by its name: facts that JSON can hold, and gradients by the names of their weights."""
        self.facts["cases"].append({"name": name, **facts})
        self.tensors |= {f"{name}/{weight}": gradient for weight, gradient in gradients.items()}

    def write(self) -> None:
        import trl

        made_with = {
            "command": f"python tests/parity/record.py {' '.join(sys.argv[1:])}",
            "trl": trl.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        }
        RECORDED.mkdir(exist_ok=True)
        text = json.dumps({"made_with": made_with, **self.facts}, indent=None, separators=(",", ":"))
        (RECORDED / f"{self._name}.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        file = RECORDED / f"{self._name}.safetensors"
        save_file(tensors, file)
        file.chmod(0o644)
