"""How long work tells that it goes on."""

from collections.abc import Callable

Say = Callable[[str, float, str], None]  # (stage, done 0..1, figures) -> shown to the user


def silent(stage: str, done: float, text: str) -> None:
    """Show nothing."""
