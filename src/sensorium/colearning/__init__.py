"""What one modality, model or row may teach another; and gradients of several that do each other no harm.

Pure formulas on tensors, arrays and numbers. Who asks for them, and when, is the training's and the api's matter.
"""

from sensorium.colearning.controls import strangers
from sensorium.colearning.cotraining import Pair, co_train, exchanged, pseudo_labels, shuffled_exchange
from sensorium.colearning.distillation import HEAT, SHARE, answered, mixed_losses, taught_losses
from sensorium.colearning.gradients import (
    FAINT,
    RISE,
    SURE,
    Standing,
    blend_weights,
    pareto_gradient,
    pareto_weight,
)
from sensorium.colearning.paired import Paired, paired_test
from sensorium.colearning.probes import Probe, fit_probe
from sensorium.colearning.prompts import TEMPLATES, class_vectors, prompts, zero_shot, zero_shot_probe
from sensorium.colearning.shots import few_shot, one_modality, shuffled_names
from sensorium.colearning.transferring import transfer

__all__ = [
    "FAINT", "HEAT", "RISE", "SHARE", "SURE", "TEMPLATES", "Pair", "Paired", "Probe", "Standing", "answered",
    "blend_weights", "class_vectors", "co_train", "exchanged", "few_shot", "fit_probe", "mixed_losses", "one_modality",
    "paired_test", "pareto_gradient", "pareto_weight", "prompts", "pseudo_labels", "shuffled_exchange", "shuffled_names",
    "strangers", "taught_losses", "transfer", "zero_shot", "zero_shot_probe",
]  # fmt: skip
