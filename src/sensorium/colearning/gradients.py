"""Losses -> weights, gradients -> one gradient: what keeps one modality from learning at the cost of another.

Pure formulas on tensors and numbers. Who asks for them, and when, is the training room's matter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RISE = 1.5  # of the merged gradient's length, arXiv:2405.17730 sec. 3.4
FAINT = 1e-6  # a merged gradient so much shorter than the plain sum has no direction but that of rounding
SURE = 0.01  # nats: a smaller change of a held-out loss, or of its gap to the training loss, is noise


def pareto_weight(joint: Float[Tensor, " n"], own: Float[Tensor, " n"]) -> float:
    """Weight w in 0..1 of the joint loss's gradient; the own loss's gradient gets 1 - w. arXiv:2405.17730 sec. 3.3.

    One half where the two agree (their product is above zero). Where they do not, the point of the line between them
    that is nearest to zero: w = ((own - joint) . own) / |joint - own|^2, which no step along can harm either loss.
    """
    if float(joint @ own) > 0:
        return 0.5
    apart = own - joint
    length = float(apart @ apart)
    return 0.5 if length == 0 else min(1.0, max(0.0, float(apart @ own) / length))


def pareto_gradient(joint: Float[Tensor, " n"], own: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Merge the gradients that two losses send to the same weights, (n,) each. MMPareto, arXiv:2405.17730 alg. 1.

    h = 2 w joint + 2 (1 - w) own with w of `pareto_weight`, then h * max(1, |joint + own| / |h|) * RISE. Where only one
    loss says anything there is nothing to merge, and the sum comes back as it is: the formula would return zero.
    Zeros where the two cancel: no direction serves both.
    """
    if not bool(joint.any()) or not bool(own.any()):
        return joint + own
    weight = pareto_weight(joint, own)
    merged = 2 * weight * joint + 2 * (1 - weight) * own
    plain, length = float((joint + own).norm()), float(merged.norm())
    if length <= FAINT * float(joint.norm() + own.norm()):
        return torch.zeros_like(joint)
    return merged * (max(1.0, plain / length) * RISE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The mean loss of every head at one moment, on training rows and on held-out rows, by the same measure."""

    train: Mapping[str, float]
    valid: Mapping[str, float]


def blend_weights(
    before: Standing, now: Standing, stuck: Mapping[str, float], *, least: float = 0.0
) -> dict[str, float]:
    """Weights of the heads' losses from how they did between two moments. arXiv:1905.12681 sec. 3, online.

    With G the fall of the held-out loss and O the growth of the gap between held-out and training loss, a head's weight
    is proportional to G / O^2; all together sum to the number of heads. A fall below SURE counts as none, and |O| as at
    least SURE. `least` is a share of each weight that is 1 whatever was measured, so that no head stops learning for good.
    Heads of `stuck` without figures at both moments have weight 1. Where no head improved the formula is silent, and the
    weights are `stuck`.
    """
    names = [n for n in now.valid if all(n in s for s in (now.train, before.train, before.valid))]
    worth = {n: _worth(before, now, n) for n in names}
    total = sum(worth.values())
    if not total > 0 or not math.isfinite(total):
        return dict(stuck)
    found = {n: least + (1 - least) * worth[n] / total * len(names) for n in names}
    return {n: 1.0 for n in stuck if n not in found} | found


def _worth(before: Standing, now: Standing, name: str) -> float:
    gain = before.valid[name] - now.valid[name]
    grown = (now.valid[name] - now.train[name]) - (before.valid[name] - before.train[name])
    return gain / max(abs(grown), SURE) ** 2 if gain >= SURE else 0.0
