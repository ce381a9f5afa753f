"""A long recipe with twenty faults has twenty findings: each on its line, none a consequence of another."""

from __future__ import annotations

import json
from pathlib import Path

from dsl_support import Harmonyc

COURSE = """\
## Course {n}: imitate, then reinforce.
model start_{n} = scratch {{
  hidden_size = 32
  layers = 1
  heads = 4
  context = 512
}}
dataset asked_{n} = jsonl("sums.jsonl") {{
  split = "train[:80%]"
  prompt = "{n}: {{{{ question }}}}"
  metadata = {{ answer = "{{{{ answer | trim }}}}" }}
}}
grader exact_{n} = equals {{ expected = "{{{{ metadata.answer }}}}" }}
grader brief_{n} = clamp(1 - words(completion) / {n}0, 0, 1)
dataset told_{n} = asked_{n} {{ completion = "{{{{ answer }}}}" }}
train taught_{n} = sft {{ model = start_{n}, dataset = told_{n}, epochs = 1 }}
train tuned_{n} = grpo {{
  model = taught_{n}
  dataset = asked_{n}
  grader = 0.9 * exact_{n} + 0.1 * brief_{n}
  completions_per_sample = 4
  samples_per_batch = 32
  samples_per_mini_batch = 16
  sampling {{ max_tokens = 16, temperature = 0.9 }}
  schedule = linear {{ warmup = 5% }}
  clip_range = 0.2
  steps = 100
}}
evaluate report_{n} = compare {{
  models = [taught_{n}, tuned_{n}], dataset = asked_{n}, graders = [exact_{n}]
}}
save tuned_{n} as "tuned-{n}"
"""

FAULTS = [
    (1, "hidden_size = 32", "hiden_size = 32", "unknown-field"),
    (1, "clip_range = 0.2", "clip_range = 1.5", "out-of-range"),
    (1, '"tuned-1"', '"tuned 1"', "bad-key"),
    (2, "{{ question }}", "{{ qestion }}", "unknown-column"),
    (2, "metadata.answer", "metadata.anwser", "unknown-metadata"),
    (2, "samples_per_batch = 32", "samples_per_batch = 30", "rule-broken"),
    (3, "| trim", "| trimm", "unknown-filter"),
    (3, "steps = 100", "steps = 100\n  epochs = 2", "one-too-many"),
    (4, "model = taught_4", "model = tought_4", "unknown-name"),
    (4, "warmup = 5%", "warmup = 0.05", "bare-share"),
    (5, "context = 512", 'context = "512"', "wrong-type"),
    (5, "temperature = 0.9", "temprature = 0.9", "unknown-field"),
    (6, "layers = 1", "layers = 1\n  layers = 2", "duplicate-field"),
    (6, "words(completion)", "words(completion, 2)", "wrong-arguments"),
    (7, "samples_per_batch = 32", "samples_per_batch =", "missing-value"),
    (7, "graders = [exact_7]", "graders = [start_7]", "wrong-type"),
    (8, "clip_range = 0.2", "clip_range: 0.2", "colon-for-equals"),
    (8, "sums.jsonl", "sum.jsonl", "missing-file"),
    (9, "steps = 100", "", "neither-given"),
    (10, "heads = 4", "heads = 5", "rule-broken"),
]
"""By course: what is changed, by what, and what must be said on that line."""


def test_twenty_faults_in_three_hundred_lines_are_twenty_findings(harmonyc: Harmonyc) -> None:
    rows = [{"question": f"{n}+{n}", "answer": str(2 * n)} for n in range(1, 21)]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    courses = [COURSE.format(n=n) for n in range(1, 11)]
    expected: list[tuple[int, str]] = []
    for course, good, bad, _ in FAULTS:
        assert good in courses[course - 1]
        courses[course - 1] = courses[course - 1].replace(good, bad, 1)
    text = "".join(courses)
    assert text.count("\n") >= 300
    for course, good, bad, slug in FAULTS:
        start = len("".join(courses[: course - 1]))
        words = bad.splitlines()[-1] if bad else f"train tuned_{course}"
        del good
        expected.append((text.count("\n", 0, text.index(words, start)) + 1, slug))
    Path("many.recipe").write_text(text)
    told = harmonyc("check", "many.recipe", "--format", "json")
    assert told.code == 1
    found = [(f["span"]["start"]["line"], f["slug"]) for f in json.loads(told.out)["diagnostics"]]
    assert found == sorted(expected)
