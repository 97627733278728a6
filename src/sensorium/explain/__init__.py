"""(network, batch) -> evidence: what each modality, and each part of it, added to an answer."""

from sensorium.explain.gradients import Attribution, integrated_gradients
from sensorium.explain.interaction import Split, split, swapped
from sensorium.explain.outputs import Outputs, outputs_of
from sensorium.explain.places import places
from sensorium.explain.sanity import Sanity, sanity
from sensorium.explain.subsets import Shares, modality_shapley

__all__ = [
    "Attribution",
    "Outputs",
    "Sanity",
    "Shares",
    "Split",
    "integrated_gradients",
    "modality_shapley",
    "outputs_of",
    "places",
    "sanity",
    "split",
    "swapped",
]
