"""Answers of a teacher that sees more -> a loss for a student that sees less."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sensorium.types import InputError

HEAT = 2.0  # temperature at which teacher and student are compared
SHARE = 0.5  # of the teacher in the loss of a row that has a label too

Rows = Float[Tensor, " row"]


def answered(teacher: Float[Tensor, "row width"]) -> Bool[Tensor, " row"]:
    """Which rows a teacher has answered: its answers to the others are not numbers."""
    return torch.isfinite(teacher).all(1)


def taught_losses(
    student: Float[Tensor, "row width"],
    teacher: Float[Tensor, "row width"],
    *,
    kind: str,
    temperature: float = HEAT,
) -> Rows:
    """How far each row's answer is from its teacher's; 0, without a gradient, where the teacher has none.

    Both as heads give them: logits of a category (log-probabilities will do), logits of each label, or a standardised
    number. A category costs T^2 KL(softmax(teacher / T) || softmax(student / T)): the factor keeps the gradient's size
    whatever the temperature T (arXiv:1503.02531, sec. 2). Labels cost the mean of the same over their sigmoids, a
    number smooth L1, which has no temperature. In nats, but for numbers; at least 0. Raises InputError for T <= 0.
    """
    if not temperature > 0:
        raise InputError("the temperature must be above zero", got=temperature, fix=f"leave it at {HEAT}")
    told = answered(teacher)
    # Rows without an answer are made whole before the formula: a masked loss must not hide a gradient of NaN.
    said = torch.where(told[:, None], teacher, torch.zeros_like(teacher))
    if kind == "category":
        soft = (said / temperature).log_softmax(-1)
        gap = soft.exp() * (soft - (student / temperature).log_softmax(-1))
        each = temperature**2 * gap.sum(1)
    elif kind == "labels":
        hot = said / temperature
        share = hot.sigmoid()
        least = F.binary_cross_entropy_with_logits(hot, share, reduction="none")
        cost = F.binary_cross_entropy_with_logits(student / temperature, share, reduction="none")
        each = temperature**2 * (cost - least).mean(1)
    else:
        each = F.smooth_l1_loss(student[:, 0], said[:, 0], reduction="none")
    return torch.where(told, each, torch.zeros_like(each))


def mixed_losses(
    own: Rows, taught: Rows, *, known: Bool[Tensor, " row"], told: Bool[Tensor, " row"], share: float = SHARE
) -> Rows:
    """Loss of each row from its label and from its teacher (generalised distillation, arXiv:1511.03643, eq. 5).

    (1 - share) own + share taught where a row has both; a row that has one of the two is given that one whole, and one
    that has neither 0. known: rows with a label; told: rows with a teacher's answer; share: 0..1. Raises InputError.
    """
    if not 0 <= share <= 1:
        raise InputError("the teacher's share must be 0 to 1", got=share, fix=f"leave it at {SHARE}")
    part = torch.where(known, torch.where(told, share, 0.0), torch.where(told, 1.0, 0.0)).to(own.dtype)
    zero = torch.zeros_like(own)
    return (1 - part) * torch.where(known, own, zero) + part * torch.where(told, taught, zero)
