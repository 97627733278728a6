"""TensorBoard's events beside the history, where the extra is installed."""

import importlib.util

import pytest

import sensorium as sm

ROWS = {"a": [i / 40 for i in range(40)], "y": ["low"] * 20 + ["high"] * 20}


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed (extra: track)"
)
def test_events_are_written_and_read_by_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sm.Model("y", inputs=["a"], epochs=20).fit(ROWS, out=tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    assert {"loss", "lr"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("loss")) >= 1


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_without_the_extra_there_are_none(tmp_path):
    sm.Model("y", inputs=["a"], epochs=2).fit(ROWS, out=tmp_path / "run")
    assert not (tmp_path / "run" / "events").exists()
