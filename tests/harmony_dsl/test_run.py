"""`harmonyc run`, from the recipe to a model that others can load, with its bad days."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dsl_support import Harmonyc, Write

LONG = ("steps = 3", "steps = 100_000")


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harmony_dsl", "run", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_saves_a_model_that_transformers_loads(
    harmonyc: Harmonyc, write: Write, tmp_path: Path
) -> None:
    told = harmonyc("run", write().name)
    assert told.code == 0, told.err
    assert "adder: step 1 of 3" in told.out
    assert "adder: step 3 of 3" in told.out
    folder = Path("runs/small-1").absolute()
    assert told.out.splitlines()[-1] == f"everything is in {folder}"
    saved = tmp_path / "home" / "models" / "small"
    assert f"saved as small: {saved}" in told.out
    assert json.loads((folder / "results.json").read_text())["saved"]["small"]["path"] == str(saved)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3

    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(saved).config.hidden_size == 8

    again = harmonyc("run", write().name)
    assert again.code == 0, again.err  # the key holds exactly this model: no collision
    assert Path("runs/small-2").is_dir()
    used = harmonyc("run", write().name, "--out", "runs/small-2")
    assert used.code == 2
    assert "not empty" in used.err


def test_a_compiled_graph_runs_too(harmonyc: Harmonyc, write: Write) -> None:
    assert harmonyc("compile", write().name, "-o", "graph.json").code == 0
    told = harmonyc("run", "graph.json", "--out", "there")
    assert told.code == 0, told.err
    assert Path("there/manifest.json").is_file()


@pytest.mark.parametrize(
    ("text", "code"),
    [('{"format_version": 99}', 1), ("[]", 1), ("{", 1), (None, 1)],
    ids=["version", "list", "broken", "missing"],
)
def test_what_is_no_graph(text: str | None, code: int, harmonyc: Harmonyc, house: Path) -> None:
    if text is not None:
        (house / "graph.json").write_text(text)
    told = harmonyc("run", "graph.json")
    assert told.code == code
    assert told.err.startswith("harmonyc: ")
    assert "graph.json" in told.err


def test_a_graph_takes_no_inputs(harmonyc: Harmonyc) -> None:
    told = harmonyc("run", "graph.json", "--set", "a=1")
    assert told.code == 2
    assert "inputs of a compiled graph are fixed" in told.err


def test_a_file_without_outputs_is_refused(harmonyc: Harmonyc, house: Path) -> None:
    (house / "shared.recipe").write_text('input name: str = "x"\n')
    told = harmonyc("run", "shared.recipe")
    assert told.code == 1
    assert "trains, evaluates and saves nothing" in told.err


def test_nothing_to_resume(harmonyc: Harmonyc, write: Write) -> None:
    told = harmonyc("run", write().name, "--resume")
    assert told.code == 2
    assert "nothing to resume" in told.err


def test_the_recipe_is_checked_before_anything_heavy_is_loaded(write: Write) -> None:
    probe = (
        "import sys; from harmony_dsl.cli.main import main; code = main(sys.argv[1:]); "
        "sys.exit(9 if 'harmony_runtime' in sys.modules or 'torch' in sys.modules else code)"
    )
    recipe = write(("max_grad_norm", "max_grad_nrom"))
    told = subprocess.run(
        [sys.executable, "-c", probe, "run", recipe.name], capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "E0401" in told.stderr


def test_a_missing_extra_names_the_command_that_installs_it(write: Write) -> None:
    probe = (
        "import sys; sys.modules['torch'] = None; sys.modules['peft'] = None; "
        "from harmony_dsl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", probe, "run", write().name], capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert told.stderr == (
        "harmonyc: training needs packages that are not installed here (torch, peft); "
        "`pip install 'harmony-dsl[train]'` installs them\n"
    )
    assert not Path("runs").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_what_it_kept_and_resumes(number: int, code: int, write: Write) -> None:
    recipe = write(LONG)
    process = start(recipe.name)
    metrics = Path("runs/small-1/metrics.jsonl")
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert "stopped at step" in out
    assert "checkpoint of `adder`" in err
    assert "--resume" in err
    if number == signal.SIGTERM:
        return

    # The same recipe, resumed, goes on where it stood; it is stopped again, since it is long.
    done = metrics.read_text().count("\n")
    process = start(recipe.name, "--resume")
    wait_for(lambda: metrics.read_text().count("\n") > done + 3, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))


def test_resuming_completes_a_run(harmonyc: Harmonyc, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from harmony_dsl.cli.display import Display

    def stop(shown: Display, name: str, step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    recipe = write().name
    with monkeypatch.context() as patch:
        patch.setattr(Display, "step", stop)
        told = harmonyc("run", recipe)
    assert told.code == 130, told.err
    told = harmonyc("run", recipe, "--resume")
    assert told.code == 0, told.err
    assert told.out.splitlines()[-1] == f"everything is in {Path('runs/small-1').absolute()}"
    lines = Path("runs/small-1/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def wait_for(there: object, process: subprocess.Popen[str], seconds: float = 60) -> None:
    assert callable(there)
    end = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.05)


def test_stopping_before_the_runtime_is_there(write: Write) -> None:
    """Ctrl-C while the libraries load: 130, and no traceback."""
    probe = "import os, signal, sys; from harmony_dsl.cli import run; from harmony_dsl.cli.main import main\n"
    probe += "run.require_train_extra = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
    probe += "sys.exit(main(sys.argv[1:]))"
    told = subprocess.run(
        [sys.executable, "-c", probe, "run", write().name],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert told.returncode == 130
    assert told.stderr == "harmonyc: interrupted\n"


def test_a_model_of_the_hub_is_taken_from_its_cache(
    harmonyc: Harmonyc, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By revision, and as the model that it is: training goes on as from the same files in a folder."""
    assert harmonyc("run", write().name).code == 0
    folder = tmp_path / "home" / "models" / "small"
    cached, commit = tmp_path / "hub" / "models--nobody--adder", "0123456789" * 4
    shutil.copytree(folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "v1").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(cached.parent))
    models = {"hub": 'hf("nobody/adder", revision = "v1")', "folder": f'local("{folder}")'}
    for key, model in models.items():
        text = re.sub(r"scratch \{.*?\n\}", model, write().read_text(encoding="utf-8"), flags=re.DOTALL)
        Path(f"{key}.recipe").write_text(text, encoding="utf-8")
        run = start(f"{key}.recipe", "--set", f"key={key}")  # the cache's place is read at the first import
        assert run.wait(60) == 0, run.communicate()
    hub, local = (folder.with_name(key) / "model.safetensors" for key in models)
    assert hub.read_bytes() == local.read_bytes()
    assert hub.read_bytes() != (folder / "model.safetensors").read_bytes()
