"""The product of calibrated experts: how the joint head and each modality's own head become one answer.

log p = joint_weight * log p_joint + sum over present m of weight_m * (log p_m - log prior), then a softmax: Bayes' rule
for modalities that are independent given the class, with each expert's temperature learned on validation rows
(Genest & Zidek 1986; arXiv:1410.7827). An absent modality drops out of the sum.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

JOINT = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    """Weights of a product of experts; plain numbers, saved as JSON."""

    weights: Mapping[str, float]  # head name -> weight, JOINT for the fused head; a head not named has no say
    prior: tuple[float, ...] = ()  # log prior of the classes; () for numbers
    lean: float = 0.0  # 0: answers follow how frequent the classes were; 1: as if all were equally frequent

    def combine(self, heads: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return log probabilities (n, classes) from each head's logits (n, classes) and who is present (n,).

        A row for which no named expert is present falls back to all of its present heads, then to the prior.
        """
        prior = np.asarray(self.prior)
        total = np.zeros((len(next(iter(present.values()))), len(prior)))
        voted = np.zeros(len(total))
        for name, weight in self.weights.items():
            if name in heads and weight > 0:
                rows = present[name]
                total[rows] += weight * (log_softmax(heads[name][rows]) - prior)
                voted[rows] += weight
        for name in heads:
            rows = present[name] & (voted == 0)
            if rows.any() and name != JOINT:
                total[rows] += log_softmax(heads[name][rows]) - prior
        return log_softmax(total + (1 - self.lean) * prior)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural logarithms of the softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def fit_experts(
    heads: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    truth: np.ndarray,
    *,
    start: Mapping[str, float],
    prior: np.ndarray,
    decay: float = 0.02,
    rounds: int = 300,
) -> Experts:
    """Learn the non-negative weights of the experts in `start` by minimising the mean loss on held-out rows.

    heads: name -> (n, classes) logits; present: name -> (n,) bool; truth: (n,) class numbers; prior: (classes,)
    probabilities. `decay` pulls the logarithm of each weight to that of its start, so few rows move little.
    Multiplicative gradient steps: the loss is convex in the weights.
    """
    log_prior = np.log(np.maximum(prior, 1e-6))
    log_prior -= np.log(np.exp(log_prior).sum())
    names, begin = tuple(start), np.array(list(start.values()))
    evidence = [np.where(present[n][:, None], log_softmax(heads[n]) - log_prior, 0.0) for n in names]
    weights, rows, speed = begin.copy(), np.arange(len(truth)), 0.2
    last = np.inf
    for _ in range(rounds):
        logits = log_prior + sum(w * e for w, e in zip(weights, evidence, strict=True))
        logp = log_softmax(logits)
        pull = np.log(weights / begin)
        loss = -logp[rows, truth].mean() + decay * (pull**2).sum() / 2
        gap = np.exp(logp)
        gap[rows, truth] -= 1
        slope = np.array([(gap * e).sum(1).mean() for e in evidence]) * weights + decay * pull
        speed = speed * 0.5 if loss > last else speed * 1.05
        last = loss
        weights = np.clip(weights * np.exp(np.clip(-speed * slope * 10, -0.5, 0.5)), 1e-3, 8.0)
    chosen = {n: round(float(w), 6) for n, w in zip(names, weights, strict=True)}
    return Experts(weights=chosen, prior=tuple(float(v) for v in log_prior))


def average(
    weights: Mapping[str, float], heads: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Weighted mean of the present heads, (n, outputs); for numbers, and for the logits of several labels.

    A row for which no named expert is present falls back to the mean of its present heads, then to zeros.
    """
    total, votes = (
        np.zeros(next(iter(heads.values())).shape),
        np.zeros((len(next(iter(present.values()))), 1)),
    )
    for name, weight in weights.items():
        if name in heads:
            have = present[name][:, None] * weight
            total, votes = total + heads[name] * have, votes + have
    lone = votes[:, 0] <= 0
    for name in heads:
        have = (present[name] & lone)[:, None]
        total, votes = total + heads[name] * have, votes + have
    return total / np.maximum(votes, 1e-9)


def fit_average(
    heads: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    *,
    start: Mapping[str, float],
    loss: Callable[[np.ndarray], float],
    decay: float = 0.02,
) -> Experts:
    """Learn the positive weights of `average` by minimising `loss` of its (n, outputs) on held-out rows.

    `decay` pulls the logarithm of each weight to that of its start. Few weights, so slopes are differences.
    """
    from scipy.optimize import minimize

    names, begin = tuple(start), np.log(np.array(list(start.values())))

    def cost(logs: np.ndarray) -> float:
        weights = dict(zip(names, np.exp(logs), strict=True))
        return loss(average(weights, heads, present)) + decay * float(((logs - begin) ** 2).sum()) / 2

    found = minimize(
        cost, begin, method="L-BFGS-B", bounds=[(-7.0, 3.0)] * len(names), options={"maxiter": 50}
    )
    return Experts(weights={n: round(float(np.exp(w)), 6) for n, w in zip(names, found.x, strict=True)})
