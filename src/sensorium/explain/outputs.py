"""What is explained: the evidence of the network's heads, added up as the experts add it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sensorium.measure.experts import Experts
from sensorium.network import JOINT, Encoded, Network
from sensorium.tasks import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """The explained outputs of one target column, a sum over heads that is exact.

    A category's product of experts is log p = sum_h w_h (log p_h - log prior) + ...: normalisers are equal for all
    classes, so they cancel in the *centred evidence* e_c = sum_h w_h (z_hc - mean over classes of z_h), with z_h the
    head's logits minus `prior`. Zero evidence is the prior. Several labels give the mean logit of each label, numbers
    the mean number in its own unit.
    """

    column: str
    kind: str  # category, labels or number
    width: int  # outputs: classes, labels, or one
    weights: Mapping[str, float]  # head of the network (a modality or JOINT) -> weight
    prior: tuple[float, ...] = ()  # what a head's logits hold before any evidence, (width,); () for none
    others: Mapping[str, float] = field(
        default_factory=dict
    )  # modality -> weight of experts outside the network
    mean: float = 0.0  # of a number, in its own unit
    spread: float = 1.0

    @property
    def blank(self) -> np.ndarray:
        """The outputs where nothing is known, (width,): no evidence, or the mean of a number."""
        return np.full(self.width, self.mean if self.kind == "number" else 0.0)

    def shares(
        self, heads: Mapping[str, Tensor], present: Mapping[str, Bool[Tensor, " batch"]]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Weight of each head in each row, as `Experts.combine` and `average` have it; zero where it is absent.

        A row for which no named expert is present falls back to its present heads. Means are divided by the votes.
        """
        anyone = torch.stack(list(present.values())).any(0)
        have = {n: (anyone if n == JOINT else present[n]).float() for n in heads}
        says = {n: self.weights.get(n, 0.0) * here for n, here in have.items()}
        outside = [w * present[n].float() for n, w in self.others.items() if n in present]
        votes = torch.stack([*says.values(), *outside]).sum(0)
        lone = (votes <= 0).float()
        fallen = {n: here * lone for n, here in have.items() if n != JOINT or self.kind != "category"}
        says = {n: s + fallen.get(n, 0.0) for n, s in says.items()}
        if self.kind == "category":
            return says
        votes = votes + torch.stack(list(fallen.values())).sum(0)
        return {n: s / votes.clamp(min=1e-9) for n, s in says.items()}

    def scaled(self, logits: Float[Tensor, "batch answers"]) -> Float[Tensor, "batch answers"]:
        """One head's answers on the scale on which heads are added."""
        if self.kind == "number":
            return logits * self.spread
        if self.kind == "labels":
            return logits
        z = logits - logits.new_tensor(self.prior) if self.prior else logits
        return z - z.mean(-1, keepdim=True)

    def of(
        self,
        heads: Mapping[str, Float[Tensor, "batch answers"]],
        present: Mapping[str, Bool[Tensor, " batch"]],
    ) -> Float[Tensor, "batch answers"]:
        """The explained outputs from each head's answers and who is present; rows without anything are blank."""
        says = self.shares(heads, present)
        total = sum(says[n][:, None] * self.scaled(z) for n, z in heads.items())
        return total + self.mean if self.kind == "number" else total

    def answer(
        self,
        network: Network,
        encoded: Mapping[str, Encoded],
        keep: Mapping[str, Bool[Tensor, " batch"]] | None = None,
    ) -> Float[Tensor, "batch answers"]:
        """The explained outputs from encoded modalities, of those only that `keep` leaves in each row."""
        present = {n: e.present if keep is None else e.present & keep[n] for n, e in encoded.items()}
        spare = self.kind == "category" and self.weights.get(JOINT, 0.0) <= 0  # no row falls back to it
        joint = None if spare else network.fuse(encoded, keep)
        return self.of(network.answer(encoded, joint)[self.column], present)


def outputs_of(
    target: Target,
    experts: Experts,
    *,
    others: Mapping[str, float] | None = None,
    shift: np.ndarray | None = None,
) -> Outputs:
    """Describe a target's outputs from the experts that answer it.

    `others`: modality -> summed weight of its simple models, whose own evidence the caller adds. `shift`: what the
    caller adds to the logits of every head, (classes,), where training weighed its rows.
    """
    prior = tuple(
        float(v)
        for v in np.asarray(experts.prior) - (0.0 if shift is None else np.asarray(shift, np.float64))
    )
    made = Outputs(
        column=target.column,
        kind=target.kind,
        width=target.width,
        weights=dict(experts.weights),
        others=dict(others or {}),
    )
    if target.kind == "number":
        return replace(made, mean=target.mean, spread=target.spread)
    return replace(made, prior=prior) if target.kind == "category" else made
