"""Plan, steps, schedule, average weights, balance between the heads, validation, checkpoints: how a network learns."""

from sensorium.training.answers import answer_all, blank_losses, encode_all, held_losses, vectors_all
from sensorium.training.balance import BALANCES, Balance, balance_of
from sensorium.training.loop import check, events, run, threads, time_step
from sensorium.training.losses import losses, row_losses, told, total
from sensorium.training.matching import MATCHINGS, Placed, vectors_of
from sensorium.training.plan import Examples, Plan, schedule
from sensorium.training.trainer import Trainer, random_subsets, weight_groups
from sensorium.training.writing import memories

__all__ = [
    "BALANCES", "MATCHINGS", "Balance", "Examples", "Placed", "Plan", "Trainer", "answer_all", "balance_of", "blank_losses", "check", "encode_all", "events",
    "held_losses", "losses", "memories", "random_subsets", "row_losses", "run", "schedule", "threads", "time_step", "told", "total",
    "vectors_all", "vectors_of", "weight_groups",
]  # fmt: skip
