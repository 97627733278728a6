"""Start from another run: its encoders, and how it turns cells into what they eat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sensorium.api.persist import described, modalities_of, weights_of
from sensorium.network import Network, key
from sensorium.types import InputError, Modality

PARTS = ("encoders", "summaries")  # of the network, by modality


@dataclass(frozen=True, kw_only=True, slots=True)
class Initial:
    """What a finished run hands on."""

    modalities: tuple[Modality, ...] = ()
    weights: Mapping[str, torch.Tensor] | None = None
    size: str | None = None


def initial(run: str | Path | None) -> Initial:
    """Read a run to start from; nothing where none is named. Raises InputError for what is no finished run."""
    if run is None:
        return Initial()
    folder = Path(run)
    if not (folder / "model.json").is_file():
        raise InputError(
            "not a run folder", got=str(folder), fix="give a folder that `sensorium fit -o` wrote"
        )
    saved = described(folder)
    if not saved["complete"]:
        raise InputError("the run is not finished", got=str(folder), fix="finish it by its own command first")
    return Initial(modalities=modalities_of(saved), weights=weights_of(folder), size=saved["size"])


def inherited(made: Sequence[Modality], start: Initial) -> tuple[Modality, ...]:
    """The modalities of a task, those of the earlier run in the place of what was read off the table.

    The same column with the same carrier is the same modality: it keeps its vocabulary, rate and size.
    """
    known = {(m.name, m.carrier): m for m in start.modalities}
    return tuple(known.get((m.name, m.carrier), m) for m in made)


def take_over(network: Network, task: Sequence[Modality], start: Initial) -> list[str]:
    """Put the earlier run's encoders into a network; returns the modalities that were taken over.

    Raises InputError where none fits: then the run has nothing to start from.
    """
    if start.weights is None:
        return []
    known = {m.name for m in start.modalities}
    taken = [m.name for m in task if m.name in known and any(m is other for other in start.modalities)]
    state = network.state_dict()
    heads = tuple(f"{part}.{key(n)}." for n in taken for part in PARTS)
    fitting = {k: v for k, v in start.weights.items() if k.startswith(heads) and k in state}
    odd = [k for k, v in fitting.items() if state[k].shape != v.shape]
    if not taken or odd:
        raise InputError(
            "the earlier run has no encoder for these columns",
            got=sorted(known),
            fix="name a run with the same columns, and the same --size",
        )
    network.load_state_dict({**state, **fitting})
    return taken
