"""The formulas by which the runtime computes, as `harmonyc explain` prints them.

Each line `name = expression` is one equation, behind `with` the option or the case in which it is so; below
stands what the letters mean, and where the equations come from. The tests evaluate these very lines and
compare them with what the runtime computes (`tests/runtime/test_equations.py`), so that nothing is printed
that is not so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harmony_grammar.records import Record


class Equation(Record):
    """One line of a formula."""

    name: str
    each_token: bool
    """Whether it is worked out token by token, from the last to the first: `A[t] = …`."""
    expression: str
    """As Python writes it."""
    case: str
    """The option or the case in which it is so; empty where it always is."""


def equations_of(formula: str) -> Iterator[Equation]:
    """The equations that stand above the words of a formula."""
    for line in formula.partition("\n\n")[0].splitlines():
        found = re.fullmatch(r"(\w+)(\[t\])? = (.+?)(?: {2,}with (.+))?", line)
        if found is None:
            raise ValueError(f"no equation: {line}")
        yield Equation(found[1], bool(found[2]), found[3].replace("^", "**"), found[4] or "")


SFT = """\
w = n / sum(n)                       with reduce = "tokens"
w = n / row_sum(n) / rows            with reduce = "sequences"
loss = -sum(w * log_p)

log_p    log-probability of a token, given all before it
n        what the token counts: 0 where `train_on` leaves it out, else 1, or its turn's `weight`
rows     rows with a token that counts
sum      over all tokens of the step, in whichever micro-batches and processes they are
row_sum  over the tokens of one row

The negative log likelihood of language modelling: Radford et al., 2018, equation 1."""

DPO = """\
m = (better - better_at_start) - (worse - worse_at_start)
agreed = log(sigmoid(beta * m))
opposed = log(sigmoid(-beta * m))
l = -(1 - label_smoothing) * agreed - label_smoothing * opposed      with loss = "sigmoid"
l = (m - 1 / (2 * beta))^2                                           with loss = "ipo"
l = max(0, 1 - beta * m)                                             with loss = "hinge"
loss = mean(l)

better, worse  log-probability of the `chosen` and the `rejected` answer: the sum over its tokens,
               each times the `weight` of its turn where there are such
..._at_start   the same by the weights with which the stage began, computed once
mean           over all pairs of the step, in whichever micro-batches and processes they are

"sigmoid": Rafailov et al., 2023, equation 7; its label smoothing: Mitchell, 2023, "conservative DPO". \
"ipo": Azar et al., 2023, equation 17. "hinge": Zhao et al., 2023, SLiC-HF."""

GRPO = """\
A = R - group_mean(R)                                    with advantage = "mean"
A = (R - group_mean(R)) / (group_std(R) + 1e-4)          with advantage = "mean_std"
r = exp(new - old)                                       with ratio = "token"
r = exp(row_mean(new - old))                             with ratio = "sequence"
k = exp(start - new) - (start - new) - 1
l = -min(r * A, clip(r, 1 - clip_range, 1 + clip_range_high) * A) + kl_beta * k
w = n / sum(n)                                           with reduce = "tokens"
w = n / row_sum(n) / rows                                with reduce = "sequences"
w = n / sampling.max_tokens / rows                       with reduce = "constant"
loss = sum(w * l)

R        reward of a completion; without one it is left out of its group, and A is 0
group_   over the completions of one prompt that have a reward; in `group_std` with n - 1
new      log-probability of a token at `sampling.temperature`, by the weights that are trained
old      the same by the weights that drew it, then
start    the same by the weights with which the stage began; with `kl_beta = 0` nobody asks
n        1 for each token of a completion; with `truncated = "mask"` 0 in those that were cut off
rows     completions with a token that counts
sum      over all tokens of an update (`samples_per_mini_batch` completions), in whichever
         micro-batches and processes they are
row_     over the tokens of one completion

Shao et al., 2024, DeepSeekMath, equations 3 and 4, section 4.1.2; k: Schulman, 2020, "Approximating KL \
divergence". "mean" and "constant": Liu et al., 2025, "Understanding R1-Zero-like training". Two ranges: Yu \
et al., 2025, DAPO, equation 10. "sequence": Zheng et al., 2025, GSPO, equations 5 and 7."""

PPO = """\
reward[t] = -kl_beta * (old[t] - start[t]) + R * last[t]
delta[t] = reward[t] + gae_gamma * value[t + 1] - value[t]
A[t] = delta[t] + gae_gamma * gae_lambda * A[t + 1]
G = A + value
A = (A - step_mean(A)) / sqrt(step_var(A) + 1e-8)                  with whiten = true
r = exp(new - old)
loss_policy = -mean(min(r * A, clip(r, 1 - clip_range, 1 + clip_range) * A))
v = critic                                                         with clip_range_value = none
v = value + clip(critic - value, -clip_range_value, clip_range_value)  with clip_range_value given
loss_value = mean(max((critic - G)^2, (v - G)^2)) / 2

R       reward of a completion, for its last token: there last[t] is 1, elsewhere 0; a completion
        without one is left out
old     log-probability of a token at `sampling.temperature`, by the weights that drew it, then
new     the same by the weights that are trained
start   the same by the weights with which the stage began; with `kl_beta = 0` nobody asks
value   what the critic says is still to come, before the step's updates; 0 behind the last token
critic  the same as it is trained
step_   over all tokens of all completions of the step; in `step_var` with n - 1
mean    over all tokens of an update (`samples_per_mini_batch` completions), in whichever
        micro-batches and processes they are

In the steps of `value_warmup` only the critic learns, and the policy's `schedule` begins behind them.

Schulman et al., 2017, equation 7; A and G: Schulman et al., 2016, equations 11 and 16; reward: Ziegler et \
al., 2019, equation 2; the clipped error of the critic: Huang et al., 2022, detail 9."""

_WARM_UP = """\
top = max(warmup - 1, 0)
done = (s - top) / (steps - top)
rate = peak * (s + 1) / warmup                                       with s < warmup
"""

_LETTERS = """\

s       the step, counted from 0, of all `steps`
warmup  in steps; a share of all of them is rounded up
peak    `lr` of the algorithm
"""

COSINE = f"""\
{_WARM_UP}\
rate = peak * (floor + (1 - floor) * (1 + cos(pi * done)) / 2)       with s >= warmup
{_LETTERS}
The floor is where the rate would stand one step after the last, so no step is spent there. Loshchilov and \
Hutter, 2017, equation 5."""

LINEAR = f"""\
{_WARM_UP}\
rate = peak * (floor + (1 - floor) * (1 - done))                     with s >= warmup
{_LETTERS}
The floor is where the rate would stand one step after the last, so no step is spent there."""

CONSTANT = f"""\
rate = peak * (s + 1) / warmup                                       with s < warmup
rate = peak                                                          with s >= warmup
{_LETTERS.rstrip()}"""
