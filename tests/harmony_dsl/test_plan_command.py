"""`harmonyc plan` as people and programs call it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write

SECOND = (
    "save adder as key\n",
    "train again = sft { model = adder, dataset = sums, lr = 1e-2, samples_per_batch = 4, steps = 2 }\n"
    'save again as key { if_exists = "rename" }\n',
)


def test_the_plan_stands_on_standard_output(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("plan", write().name, "--set", "key=other")
    assert (told.code, told.err) == (0, "")
    assert 'key = "other"\n' in told.out
    assert "└─ adder = sft on sums (10 rows), 3 steps\n" in told.out


def test_what_a_run_has_finished_would_be_reused(harmonyc: Harmonyc, write: Write) -> None:
    """Of an edit to the second stage the first knows nothing."""
    recipe = write(SECOND).name
    assert harmonyc("run", recipe, "--out", "done").code == 0
    edited = write((SECOND[0], SECOND[1].replace("steps = 2", "steps = 1"))).name
    told = harmonyc("plan", edited, "--reuse", "done")
    assert "finished    in done: its model is reused" in told.out
    parts = json.loads(harmonyc("plan", edited, "--reuse", "done", "--json").out)
    names = {ref: origin["name"] for ref, origin in parts["origins"].items()}
    assert {names[ref]: part["finished"] for ref, part in parts["parts"].items()} == {
        "adder": True,
        "again": False,
    }
    shutil.rmtree("done/stages")
    assert "finished    in" not in harmonyc("plan", edited, "--reuse", "done").out


def test_a_folder_that_is_no_runs_is_refused(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("plan", write().name, "--reuse", "nowhere")
    assert told.code == 2
    assert "harmonyc: the folder nowhere is not a run's: it holds no graph.json" in told.err


def test_a_device_that_is_too_small(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("plan", write().name, "--device-memory", "1KiB")
    assert told.code == 1
    assert "error[E0712 device-overflow]: `adder` needs" in told.err
    assert told.out.startswith("recipe small")
    assert harmonyc("plan", write().name, "--device-memory", "80GiB").code == 0


@pytest.mark.parametrize("size", ["80 apples", "-1", "GiB"])
def test_what_is_no_size(size: str, harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("plan", write().name, f"--device-memory={size}")
    assert told.code == 2
    assert f"`{size}` is no size: write a number and its unit, such as `80GiB`" in told.err


@pytest.mark.parametrize(("form", "first"), [("dot", "digraph {"), ("mermaid", "flowchart LR")])
def test_the_graph_for_others_to_draw(form: str, first: str, harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("plan", write().name, "--graph", form)
    assert told.code == 0
    assert first in told.out.splitlines()
    assert "adder" in told.out


def test_a_device_changes_what_memory_is_planned(harmonyc: Harmonyc, write: Write) -> None:
    recipe = write().name
    gpu, cpu = (
        json.loads(harmonyc("plan", recipe, "--json", "--device", kind).out) for kind in ("gpu", "cpu")
    )
    assert gpu["parts"].keys() == cpu["parts"].keys()
    assert gpu["parts"] != cpu["parts"]
    assert (gpu["assumed"], cpu["assumed"]) == ({"device": "gpu"}, {"device": "cpu"})
    assert gpu["digest"] == cpu["digest"]


def test_a_faulty_recipe_has_no_plan(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("plan", write(("steps = 3", "stepz = 3")).name)
    assert (told.code, told.out) == (1, "")
    assert "stepz" in told.err


JUDGES = """\
grader polite = judge { model = endpoint("http://localhost:1/v1", model = "m"), criteria = "CRITERIA" }
"""

REWARDED = """\
dataset asked = rows([{ q = "1+1" }, { q = "1+2" }]) { prompt = "{{ q }}" }
model tiny = scratch { hidden_size = 8, layers = 1, heads = 2, context = 24 }
grader polite = registry("polite")
train tuned = grpo {
  model = tiny
  dataset = asked
  grader = polite
  completions_per_sample = 2
  samples_per_batch = 4
  samples_per_mini_batch = 2
  sampling { max_tokens = 8 }
  steps = 3
}
save tuned as "tuned"
"""


def test_a_published_grader_is_planned_as_what_it_is(harmonyc: Harmonyc, house: Path) -> None:
    """The calls of the judge inside it, its range, and a digest that follows what is published."""
    (house / "tuned.recipe").write_text(REWARDED)
    digests = []
    for criteria in ("It is kind.", "It is short."):
        (house / "judges.recipe").write_text(JUDGES.replace("CRITERIA", criteria))
        assert harmonyc("graders", "add", "polite", "judges.recipe", "polite", "--replace").code == 0
        told = harmonyc("plan", "tuned.recipe")
        assert "asks        polite: the endpoint 12 times\n" in told.out
        assert "polite" in told.out and ", 0 to 1\n" in told.out
        digests.append(json.loads(harmonyc("plan", "tuned.recipe", "--json").out)["digest"])
    assert digests[0] != digests[1]
