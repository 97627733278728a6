"""What modalities tell one by one, and what only together: swapped encodings, and the split of one answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sensorium.data import Row, collate
from sensorium.explain.gradients import TINY, Attribution, attribute
from sensorium.explain.outputs import Outputs
from sensorium.explain.paths import Line, still
from sensorium.explain.subsets import taken
from sensorium.network import Encoded, Network
from sensorium.tasks import Task
from sensorium.tokens import Tokens
from sensorium.types import InputError

BATCH = 128  # pairs of rows that are fused at a time
PARTNERS = 32  # rows whose modalities stand in for those of an explained row
STEPS = 16  # points of the path of a split: each costs as many fusions as there are partners and modalities


def swapped(
    network: Network, task: Task, rows: Sequence[Row], outputs: Outputs
) -> list[Float[np.ndarray, "n n outputs"]]:
    """Outputs with one modality of each row and the others of each row, as EMAP asks (arXiv:2010.06572, sec. 3).

    grids[m][i, j]: modality number m of the rows (in the task's order) from row i, all others from row j; so the
    diagonals are the plain outputs. All rows must have the same modalities. Raises InputError where they differ.
    """
    names = _common(task, rows)
    with still(network), torch.no_grad():
        encoded = encoded_rows(network, task, rows)
        grids: list[np.ndarray] = []
        for name in names:
            if len(names) == 2 and grids:
                grids.append(grids[0].transpose(1, 0, 2).copy())  # two modalities: the same pairs
            else:
                grids.append(_grid(network, outputs, encoded, name, len(rows)))
    return grids


def _common(task: Task, rows: Sequence[Row]) -> list[str]:
    """The modalities of the rows, which must be the same in each."""
    kinds = {tuple(m.name for m in task.modalities if m.name in row) for row in rows}
    if len(kinds) != 1 or not next(iter(kinds)):
        raise InputError(
            "rows can only swap modalities that all of them have",
            got=sorted(kinds),
            fix="give rows with the same modalities",
        )
    return list(next(iter(kinds)))


def encoded_rows(network: Network, task: Task, rows: Sequence[Row], *, batch: int = 32) -> dict[str, Encoded]:
    """Encode rows that have the same modalities; the few tokens are padded to one width."""
    pieces = [
        network.encode(collate(rows[start : start + batch], task.modalities))
        for start in range(0, len(rows), batch)
    ]
    return {name: _stacked([piece[name] for piece in pieces]) for name in pieces[0]}


def _stacked(pieces: Sequence[Encoded]) -> Encoded:
    width = max(p.tokens.valid.shape[1] for p in pieces)

    def padded(x: Tensor) -> Tensor:
        short = width - x.shape[1]
        return x if short == 0 else torch.cat([x, x.new_zeros(len(x), short, *x.shape[2:])], 1)

    fields = {
        f: torch.cat([padded(getattr(p.tokens, f)) for p in pieces]) for f in ("x", "place", "valid", "kind")
    }
    return Encoded(
        tokens=Tokens(**fields),
        vector=torch.cat([p.vector for p in pieces]),
        present=torch.cat([p.present for p in pieces]),
    )


def _mixed(encoded: Mapping[str, Encoded], name: str, own: Tensor, rest: Tensor) -> dict[str, Encoded]:
    """Modality `name` of the rows `own` beside the other modalities of the rows `rest`."""
    return {n: taken(e, own if n == name else rest) for n, e in encoded.items()}


def _grid(
    network: Network, outputs: Outputs, encoded: Mapping[str, Encoded], name: str, rows: int
) -> Float[np.ndarray, "n n outputs"]:
    pairs = torch.cartesian_prod(torch.arange(rows), torch.arange(rows))
    found = [
        outputs.answer(network, _mixed(encoded, name, some[:, 0], some[:, 1])).double()
        for some in pairs.split(BATCH)
    ]
    return torch.cat(found).reshape(rows, rows, -1).numpy()


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One answer as what its modalities tell one by one plus what only their meeting tells (arXiv:2203.02013, sec. 3)."""

    unimodal: Attribution
    interaction: (
        Attribution  # its error is a share of the change of the whole output, since it may be about zero
    )
    partners: int  # rows that stood in for the modalities of this one

    @property
    def whole(self) -> float:
        """The explained output of the row."""
        return self.unimodal.value + self.interaction.value


def split(
    network: Network,
    task: Task,
    row: Row,
    outputs: Outputs,
    *,
    partners: Sequence[Row],
    which: int | None = None,
    steps: int = STEPS,
) -> Split:
    """Split one row's output into a unimodal part and the interaction, and attribute each to the inputs.

    The unimodal part is EMAP's: sum over m of the mean over partners j of f(m of this row, the others of j), minus
    (M - 1) times the grand mean over partners. At most `PARTNERS` of the `partners` that have all of the row's
    modalities are used. Raises InputError where there are fewer than two.
    """
    names = [m.name for m in task.modalities if m.name in row]
    fit = [{n: p[n] for n in names} for p in partners if names and all(n in p for n in names)][:PARTNERS]
    if len(fit) < 2:
        raise InputError(
            "too few rows have the modalities of this one",
            got=len(fit),
            fix="give partners, at least two of which have all of its modalities",
        )
    grids = swapped(network, task, fit, outputs)
    grand = np.mean([g.mean((0, 1)) for g in grids], 0)
    with still(network):
        line = Line(network, task.modalities, row)
        with torch.no_grad():
            others = encoded_rows(network, task, fit)

        def unimodal(encoded: Mapping[str, Encoded]) -> Float[Tensor, "k answers"]:
            means = [_mean_over(network, outputs, encoded, others, name) for name in names]
            return sum(means) - (len(names) - 1) * means[0].new_tensor(grand)

        def whole(encoded: Mapping[str, Encoded]) -> Float[Tensor, "k answers"]:
            return outputs.answer(network, encoded)

        full = attribute(line, whole, outputs.blank, which, 4 * steps)
        alone = attribute(line, unimodal, outputs.blank, full.output, steps, 4 * steps)
    return Split(unimodal=alone, interaction=_rest(full, alone), partners=len(fit))


def _mean_over(
    network: Network,
    outputs: Outputs,
    encoded: Mapping[str, Encoded],
    others: Mapping[str, Encoded],
    name: str,
) -> Float[Tensor, "k answers"]:
    """Mean over partners of the outputs with modality `name` from `encoded` and the other modalities from them."""
    points, many = len(encoded[name].present), len(others[name].present)
    own = torch.arange(points).repeat_interleave(many)
    rest = torch.arange(many).repeat(points)
    mixed = {n: taken(encoded[n], own) if n == name else taken(e, rest) for n, e in others.items()}
    return outputs.answer(network, mixed).reshape(points, many, -1).mean(1)


def _rest(full: Attribution, alone: Attribution) -> Attribution:
    """What is left of an attribution: integrated gradients along one path add up over summands."""
    parts = {n: part - alone.parts[n] for n, part in full.parts.items()}
    value, baseline = full.value - alone.value, full.baseline - alone.baseline
    missed = abs(sum(float(p.sum()) for p in parts.values()) - (value - baseline))
    return replace(
        full,
        parts=parts,
        value=value,
        baseline=baseline,
        error=missed / max(abs(full.value - full.baseline), TINY),
        steps=alone.steps,
    )
