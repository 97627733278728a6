"""Explanations in each sensor's own terms: pixels, seconds, words, channels, fields, points."""

import json

import numpy as np
import pytest
import test_core
import torch
from explain_worlds import every
from test_core import CATEGORY, TINY, modality, rows_of

from sensorium.explain import integrated_gradients, places
from sensorium.explain.places import clock
from sensorium.explain.words import spans_of, words
from sensorium.modalities import CARRIERS
from sensorium.network import Network
from sensorium.tasks import Task
from sensorium.types import Limits, Media, Signal

ALL = tuple(m.name for m in test_core.MODALITIES)


def test_places_of_every_carrier_are_json_and_keep_the_sum():
    network, task, outputs = every(CATEGORY)
    row = rows_of(1, missing=0.0)[0]
    (found,) = integrated_gradients(network, task, [row], outputs, steps=8, most=8)
    told = json.loads(json.dumps(places(found, task, row), allow_nan=False))
    parts = told["modalities"]
    assert list(parts) == list(ALL)
    assert np.shape(parts["image"]["heat"]) == (32, 32)
    assert np.shape(parts["video"]["heat"]) == (len(row["video"]), 16, 16)
    assert np.shape(parts["audio"]["bands"]) == row["audio"].shape
    assert [parts[n]["step_s"] for n in ("audio", "video", "series", "radar")] == [0.01, 0.1, 0.02, 0.1]
    assert [f["name"] for f in parts["table"]["fields"]] == ["1", "2", "3", "4"]
    assert len(parts["lidar"]["points"]) == len(row["lidar"])
    sums = {
        "text": sum(w["value"] for w in parts["text"]["words"]),
        "image": np.sum(parts["image"]["heat"]),
        "audio": np.sum(parts["audio"]["bands"]),
        "video": np.sum(parts["video"]["heat"]),
        "series": sum(sum(c["values"]) for c in parts["series"]["channels"]),
        "radar": sum(parts["radar"]["steps"]),
        "lidar": sum(p[-1] for p in parts["lidar"]["points"]),
        "table": sum(f["value"] for f in parts["table"]["fields"]),
    }
    for name, total in sums.items():
        size = float(np.abs(found.parts[name]).sum())
        assert total == pytest.approx(found.totals[name], abs=2e-3 * size), name
        assert parts[name]["total"] == pytest.approx(found.totals[name], rel=1e-3)


def test_a_large_explanation_stays_small():
    rng = np.random.default_rng(0)
    big = (
        modality("picture", "image", (384, 3), 384),
        modality("clip", "video", (96, 96, 3), 32, 0.1),
        modality("sound", "audio", (128,), 800, 0.01),
        modality("ecg", "series", (60,), 5000, 0.01, channels=30, names=[f"lead {i}" for i in range(30)]),
        modality("story", "text", (), 8000),
        modality("cloud", "points", (3,), 9000),
    )
    shapes = {m.name: (m.longest, *m.item) for m in big}
    row = {n: np.ones(s, np.int32 if n == "story" else np.float32) for n, s in shapes.items()}
    (given,) = integrated_gradients(*every(CATEGORY)[:2], [{}], every(CATEGORY)[2])
    parts = {n: rng.normal(size=s).astype(np.float32) * 1e-3 for n, s in shapes.items()}
    made = type(given)(parts=parts, output=0, value=1.0, baseline=0.0, error=0.0, steps=64)
    told = places(made, Task(modalities=big, targets=(CATEGORY,)), row)
    assert len(json.dumps(told)) < 300_000
    for name in ("picture", "clip", "sound"):
        key = "bands" if name == "sound" else "heat"
        assert np.sum(told["modalities"][name][key]) == pytest.approx(parts[name].sum(), abs=0.05)
    leads = told["modalities"]["ecg"]["channels"]
    assert len(leads) == 17
    assert leads[-1]["name"] == "the others"


def test_channels_fields_and_points_have_their_names_and_units():
    """Real modalities: a recording with gaps and an unsteady clock, a row's own fields, a cloud in metres."""
    rng = np.random.default_rng(0)

    def recording() -> Signal:
        values = np.where(rng.random((40, 3)) < 0.2, np.nan, rng.normal(size=(40, 3)))
        return Signal(values=values, times_s=np.cumsum(rng.uniform(0.5, 1.5, 40)), channels=("x", "y", "z"))

    series = [recording() for _ in range(4)]
    fields = [
        CARRIERS["table"].decode(Media(content={"age": 30 + i, "town": "ab"[i % 2]}), Limits())
        for i in range(4)
    ]
    clouds = [Signal(values=rng.normal(size=(30, 3)).astype(np.float32) * 5) for _ in range(4)]
    given = {"series": series, "table": fields, "points": clouds}
    made = tuple(CARRIERS[c].define(c, c, **CARRIERS[c].survey(s)) for c, s in given.items())
    row = {m.name: m.patches(given[m.name][0]) for m in made}
    assert row["series"].shape[1] == 3 * 3 + 1
    task = Task(modalities=made, targets=(CATEGORY,))
    torch.manual_seed(0)
    (found,) = integrated_gradients(Network(task, TINY), task, [row], every(CATEGORY)[2], steps=8, most=8)
    told = places(found, task, row, signals={n: s[0] for n, s in given.items()})["modalities"]
    part = found.parts["series"]
    assert [c["name"] for c in told["series"]["channels"]] == ["x", "y", "z", "gaps"]
    np.testing.assert_allclose(
        told["series"]["channels"][1]["values"], part[:, [1, 4, 7]].sum(1), rtol=1e-3, atol=1e-9
    )
    np.testing.assert_allclose(told["series"]["channels"][3]["values"], part[:, 9], rtol=1e-3, atol=1e-9)
    assert told["series"]["start_s"] == pytest.approx(series[0].times_s[0], rel=1e-3)
    assert told["series"]["step_s"] == pytest.approx(np.ptp(series[0].times_s) / len(part), rel=1e-3)
    assert [f["name"] for f in told["table"]["fields"]] == ["age", "town"]
    where = np.array(told["points"]["points"])[:, :3]
    want = clouds[0].values - np.median(clouds[0].values, 0)
    order, wanted = np.lexsort(where.T), np.lexsort(want.T)
    np.testing.assert_allclose(where[order], want[wanted], atol=0.02)


def text_modality(texts: list[str], **given: str):
    signals = [CARRIERS["text"].decode(Media(content=t), Limits()) for t in texts]
    return CARRIERS["text"].define("said", "said", **CARRIERS["text"].survey(signals, **given))


@pytest.mark.parametrize("many", [1, 90], ids=["bytes", "pairs"])
def test_words_are_found_in_the_text_as_written(many):
    """Upper case, letters whose lower case is longer, several bytes a letter, scripts without blanks."""
    made = text_modality(
        [f"Isn't the İzmir Straße film number {i} über-good, 你好?" for i in range(many)] * 2
    )
    said = "The film  isn't über-good: İzmir 你好!"
    signal = CARRIERS["text"].decode(Media(content=said), Limits())
    ids = made.patches(signal)
    part = np.arange(1.0, len(ids) + 1)
    found = words(part, made, ids, said)
    assert [w["text"] for w in found] == [
        "The",
        "film",
        "isn't",
        "über",
        "-",
        "good",
        ":",
        "İzmir",
        "你",
        "好",
        "!",
    ]
    assert all(said[w["start"] : w["stop"]] == w["text"] for w in found)
    assert sum(w["value"] for w in found) == pytest.approx(part.sum())
    values = [w["value"] for w in found]
    spans = spans_of(said, made.options["tokenizer"], ids, case=False)
    first = sum(v for v, (a, b) in zip(part, spans, strict=True) if b <= 3)
    assert values[0] == pytest.approx(first)
    bare = words(part, made, ids, None)
    assert sum(w["value"] for w in bare) == pytest.approx(part.sum())
    assert "start" not in bare[0]
    other = words(part, made, ids, "something else that is long enough to have as many tokens as that")
    assert other == bare


def test_words_behind_the_last_token_are_not_told():
    made = text_modality(["some words of no interest at all"] * 2, longest="8")
    ids = made.patches(Signal(values=np.array(["abc def ghi"], dtype=object)))
    assert len(ids) == 8
    assert [w["text"] for w in words(np.ones(8), made, ids, "abc def ghi")] == ["abc", "def"]


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.0])
def test_the_clock_of_a_sound_finds_a_click(seconds):
    """Long clips lose their ends or have longer hops; the loudest frame still is where the click is."""
    made = CARRIERS["audio"].define("s", "s", rate_hz=8000, bands=16, hop_s=0.01, longest=200)
    wave = np.random.default_rng(0).normal(0, 1e-3, int(seconds * 16000)).astype(np.float32)
    at = 0.55 * seconds
    wave[int(at * 16000) : int(at * 16000) + 200] = 1.0
    signal = Signal(values=wave[:, None], rate_hz=16000.0)
    mel = made.patches(signal)
    start_s, step_s = clock(made, len(mel), signal)
    assert start_s + step_s * mel.mean(1).argmax() == pytest.approx(at, abs=2 * step_s + 0.01)


def test_clocks_of_stretched_recordings_and_clips():
    series = modality("s", "series", (2,), 100, 0.02)
    signal = Signal(values=np.zeros((500, 2)), rate_hz=100.0, start_s=1.0)
    assert clock(series, 100, signal) == pytest.approx((1.0, 0.05))
    assert clock(series, 100, None) == (0.0, 0.02)
    clip = Signal(values=np.zeros((4, 2, 2, 1)), times_s=np.array([0.1, 0.4, 0.7, 1.0]))
    assert clock(modality("v", "video", (2, 2, 1), 4, 0.2), 4, clip) == pytest.approx((0.1, 0.3))
