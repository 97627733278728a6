"""How a network that reasons about a question got there: what each step read and looked at, and what fewer steps give."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from sensorium.data import Decoder, collate
from sensorium.measure.resample import Score
from sensorium.modalities.text import ids, written
from sensorium.network import Network
from sensorium.tasks import Task
from sensorium.types import Modality


def by_steps(network: Network, figure: Callable[[], Score | None]) -> list[dict[str, object]]:
    """The figure after 1, 2, ... steps of thought of one trained network; nothing where it does not reason.

    `figure` asks the network anew. A network trained with so few steps may do better: this tells what the later steps of
    this one add.
    """
    reasoning = network.reasoning
    if reasoning is None:
        return []
    found, most = [], reasoning.steps
    try:
        for steps in range(1, most + 1):
            reasoning.steps = steps
            score = figure()
            if score is not None:
                found.append({"steps": steps, "score": score.to_json()})
    finally:
        reasoning.steps = most
    return found


@torch.inference_mode()
def thought(network: Network, task: Task, decoder: Decoder, row: int) -> dict[str, object]:
    """What each step read of the question's words and looked at, of one row; nothing where it does not reason or lacks either.

    `steps`: words (weights of the words between blanks) and looks (modality -> weights of its tokens), `places` of these
    tokens (seconds, y, x), and `shown` (modality -> carrier).
    """
    patches, faults = decoder.patches(row, task.modalities)
    if network.reasoning is None or faults or not patches:
        return {}
    encoded = network.eval().encode(collate([patches], task.modalities))
    parts = network.thoughts(encoded)
    if parts is None or not (parts[0].valid.any() and parts[1].valid.any()):
        return {}
    question, seen, vector = parts
    _, trace = network.reasoning(question, seen, vector)
    kind, place = seen.kind[0].numpy(), seen.place[0].numpy()
    mine = {n: np.flatnonzero((kind == k) & seen.valid[0].numpy()) for k, n in enumerate(network.names, 1)}
    mine = {n: at for n, at in mine.items() if len(at)}
    asks = next(m for m in task.modalities if m.name == network.question)
    signal = decoder.of(row, asks)
    text = "" if signal is None else str(signal.values[0])
    return {
        "steps": [
            {
                "words": word_weights(text, asks, read[0, 1:].numpy()),  # the bag of words stands in front
                "looks": {n: np.round(looked[0].numpy()[at], 5).tolist() for n, at in mine.items()},
            }
            for read, looked in trace
        ],
        "places": {n: np.round(place[at], 4).tolist() for n, at in mine.items()},
        "shown": {m.name: {"carrier": m.carrier} for m in task.modalities if m.name in mine},
    }


def word_weights(text: str, modality: Modality, weights: Sequence[float] | np.ndarray) -> list[float]:
    """Weights of tokens as weights of the words between blanks; those of words that were cut off are 0."""
    json = str(modality.options["tokenizer"])
    tokens = ids(text if modality.options["case"] else text.lower(), json)[: len(weights)]
    found = [0.0] * len(text.split())
    for number in range(len(tokens)):
        before = len(written(tokens[: number + 1], json).rstrip("\ufffd").split()) - 1
        if 0 <= before < len(found):
            found[before] += float(weights[number])
    return [round(f, 5) for f in found]
