"""Answers -> losses: of each row, of each head, and their sum."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from sensorium.colearning import answered, mixed_losses, taught_losses
from sensorium.network import JOINT
from sensorium.tasks import Target, Task
from sensorium.tokens import Batch
from sensorium.training.plan import Plan

SMOOTHING = 0.1  # of the labels, arXiv:1512.00567 sec. 7

Named = tuple[str, str]  # a head: its target column, and its modality or JOINT


def told(name: Named) -> str:
    """A head's name as the history has it: `target/modality`, `target/joint` for the joint head."""
    column, head = name
    if head == "joint":  # a modality of that name is told from the joint head
        return f'{column}/"joint"'
    return f"{column}/{head or 'joint'}"


def row_losses(answers: Tensor, truth: Tensor, target: Target) -> Tensor:
    """Loss of each row, (rows,): smoothed cross-entropy, mean binary cross-entropy, or smooth L1.

    Smoothing is spread over the classes that training rows have; class weights belong to the row, not to the
    smoothed mass, so a rare class cannot win everything.
    """
    if target.kind == "category":
        logp = answers.log_softmax(-1)
        return -(1 - SMOOTHING) * logp.gather(1, truth[:, None])[:, 0] - SMOOTHING * logp.mean(1)
    if target.kind == "labels":
        return F.binary_cross_entropy_with_logits(answers, truth, reduction="none").mean(1)
    return F.smooth_l1_loss(answers[:, 0], truth, reduction="none")


def losses(
    answers: Mapping[str, Mapping[str, Tensor]], batch: Batch, task: Task, present: Mapping[str, Tensor]
) -> dict[Named, Tensor]:
    """Mean loss of every head of every target over the rows that have the target, or a teacher's answer, and the modality."""
    found = {}
    for target in task.targets:
        if target.wording is not None:  # `writing` has its loss
            continue
        column = target.column
        taught = batch.taught.get(column)
        for name, logits in answers[column].items():
            known = batch.known[column]
            each = row_losses(logits, batch.targets[column], target)
            if taught is not None:
                heard = answered(taught)
                gap = taught_losses(logits, taught, kind=target.kind)
                each = mixed_losses(each, gap, known=known, told=heard)
                known = known | heard
            rows = known if name == JOINT else known & present[name]
            weight = batch.weight[column] * rows
            found[column, name] = (each * weight).sum() / weight.sum().clamp(min=1e-6)
    return found


def total(found: Mapping[Named, Tensor], plan: Plan) -> Tensor:
    """Sum the heads' losses: every own loss beside the joint one; what of it trains the encoders is the balance's matter."""
    return sum(loss * (1.0 if head == JOINT else plan.own) for (_, head), loss in found.items())
