"""Vectors x vectors -> losses that bring together what belongs together; sequences x sequences -> paths."""

from sensorium.alignment.contrastive import group_ignored, group_positive, info_nce, sigmoid
from sensorium.alignment.gather import gather

__all__ = ["gather", "group_ignored", "group_positive", "info_nce", "sigmoid"]
