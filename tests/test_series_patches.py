"""Series: learning options from recordings, patches, augmentation, statistics."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.modalities import series
from sensorium.modalities.series import resampled
from sensorium.types import InputError, Signal

CARRIER = series.CARRIER


def waves(steps=120, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, channels)).cumsum(0)


def learned(signals, **told):
    options = json.loads(json.dumps(CARRIER.survey(signals, **told)))
    return CARRIER.define("s", "s", **options)


# --- options


def test_survey_is_json_and_what_is_given_wins():
    signals = [Signal(values=waves(80 + i, seed=i), rate_hz=50.0) for i in range(12)]
    options = CARRIER.survey(signals)
    assert json.loads(json.dumps(options)) == options
    assert options["channels"] == 3
    assert options["rate"] == 50
    assert options["whole"] is True
    told = CARRIER.survey(signals, rate="100", longest="16", whole="no")
    assert (told["rate"], told["longest"], told["whole"]) == (100, 16, False)
    modality = CARRIER.define("s", "s", **options)
    assert modality.options == options
    assert modality.item == (6,)


WRONG = [
    {"rate": "fast"},
    {"rate": "-1"},
    {"longest": "0"},
    {"hertz": "3"},
    {"rate": "nan"},
    {"whole": "maybe"},
]


@pytest.mark.parametrize("wrong", [*WRONG, {"longest": "2.5"}])
def test_unknown_or_bad_options_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        CARRIER.survey([Signal(values=waves())], **wrong)


def test_channels_are_matched_by_name_and_absent_ones_are_missing():
    full = [Signal(values=waves(seed=i), channels=("a", "b", "c")) for i in range(5)]
    part = Signal(values=full[0].values[:, [2, 0]], channels=("c", "a"))
    modality = learned([*full, part])
    whole, lacking = modality.patches(full[0]), modality.patches(part)
    np.testing.assert_allclose(lacking[:, [0, 2]], whole[:, [0, 2]])
    assert (lacking[:, [1, 4]] == 0).all()
    assert (lacking[:, 6:9] == [1, 0, 1]).all()
    with pytest.raises(InputError, match="other channels"):
        modality.patches(Signal(values=waves(channels=2), channels=("u", "v")))
    with pytest.raises(InputError, match="other channels"):
        modality.patches(Signal(values=waves(channels=4)))


def test_arrays_of_channels_by_steps_are_turned():
    x = [waves(200 + 10 * i, 3, seed=i) for i in range(4)]
    straight, turned = learned([Signal(values=v) for v in x]), learned([Signal(values=v.T) for v in x])
    assert turned.options["turned"] is True
    np.testing.assert_array_equal(
        turned.patches(Signal(values=x[0].T)), straight.patches(Signal(values=x[0]))
    )
    words = [Signal(values=np.random.default_rng(i).normal(size=(10, 300))) for i in range(4)]
    assert learned(words).options["turned"] is False  # ten word vectors are ten steps


def test_no_training_row_is_an_input_error():
    with pytest.raises(InputError, match="no training row"):
        CARRIER.survey([])


# --- patches


def test_resampling_keeps_means_and_ends():
    x = waves(1000)
    small = resampled(x, 64)
    np.testing.assert_allclose(small.mean(0), x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(resampled(x, 250), x.reshape(250, 4, 3).mean(1), rtol=1e-7, atol=1e-9)
    large = resampled(x[:10], 37)
    at = np.linspace(0, 9, 37)
    np.testing.assert_allclose(
        large, np.stack([np.interp(at, np.arange(10), c) for c in x[:10].T], 1), atol=1e-12
    )
    assert resampled(x[:1], 5).shape == (5, 3)


def test_missing_readings_do_not_bend_their_neighbours():
    x = waves(100)
    holes = x.copy()
    holes[40:60, 1] = np.nan
    coarse = resampled(holes, 50)
    np.testing.assert_allclose(coarse[:20], resampled(x, 50)[:20], atol=1e-9)
    assert np.isnan(coarse[20:30, 1]).all()
    modality = learned([Signal(values=holes), Signal(values=x)], longest=50)
    patches = modality.patches(Signal(values=holes))
    assert np.isfinite(patches).all()
    np.testing.assert_array_equal(patches[:, 7] == 0, np.isnan(coarse[:, 1]))


def test_one_gap_in_much_data_is_noticed():
    values = np.zeros((9_000_000, 1), np.int8).astype(np.float32)
    values[1] = np.nan
    assert CARRIER.survey([Signal(values=values), Signal(values=waves(50, 1))])["missing"] is True


def test_scaling_is_of_training_and_of_the_recording():
    signals = [Signal(values=np.random.default_rng(i).normal(50, 4, (100, 2))) for i in range(20)]
    modality = learned(signals)
    x = modality.patches(signals[0])
    assert x.dtype == np.float32
    np.testing.assert_allclose(
        np.std(np.concatenate([modality.patches(s)[:, :2] for s in signals])), 1, atol=0.1
    )
    np.testing.assert_allclose(x[:, 2:].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x[:, 2:].std(0), 1, atol=1e-4)
    louder = modality.patches(Signal(values=signals[0].values * 3))
    np.testing.assert_allclose(louder[:, 2:], x[:, 2:], atol=1e-3)


def test_long_tracks_are_averaged_and_keep_their_texture():
    rng = np.random.default_rng(0)
    calm = [Signal(values=rng.normal(0, 0.1, (n, 1)), rate_hz=100.0) for n in (3000, 9000, 20000)]
    wild = Signal(values=rng.normal(0, 3, (9000, 1)), rate_hz=100.0)
    modality = learned([*calm, wild], longest=100)
    assert not modality.options["whole"]
    assert modality.step_s == pytest.approx(modality.options["pool"] / 100)
    a, b = modality.patches(calm[1]), modality.patches(wild)
    assert a.shape == b.shape
    assert len(modality.patches(calm[2])) <= 100
    assert b[:, 2].mean() > a[:, 2].mean() + 1


def test_irregular_times_go_along_as_gaps():
    times = np.array([0.0, 1, 2, 10, 11])
    signals = [Signal(values=waves(5), times_s=times)] * 3
    x = learned(signals).patches(signals[0])
    assert x.shape == (5, 7)
    np.testing.assert_allclose(x[:, -1], np.log1p([0, 1, 1, 8, 1]), rtol=1e-6)


def test_other_rates_are_brought_to_the_common_one():
    t100, t50 = np.arange(0, 4, 0.01), np.arange(0, 4, 0.02)
    fast, slow = (Signal(values=np.sin(t)[:, None], rate_hz=r) for t, r in ((t100, 100.0), (t50, 50.0)))
    modality = learned([fast, fast, slow], whole=False, longest=400)
    a, b = modality.patches(fast), modality.patches(slow)
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, atol=0.05)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 600),
    st.integers(1, 70),
    st.floats(0, 1),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_every_shape_gives_finite_patches_statistics_and_augmentations(
    steps, channels, strength, holes, clock, seed
):
    rng = np.random.default_rng(seed)
    signals = []
    for n in (steps, max(1, steps // 3), steps + 7):
        values = rng.normal(size=(n, channels)) * 10.0 ** rng.integers(-30, 300)
        if holes:
            values[rng.random(values.shape) < 0.3] = np.nan
            values[0, 0] = 1.0
        signals.append(Signal(values=values, times_s=np.sort(rng.random(n)) if clock else None))
    modality = learned(signals)
    sizes = set()
    for signal in signals:
        x = modality.patches(signal)
        assert x.shape[1:] == modality.item
        assert 1 <= len(x) <= modality.longest
        before = x.copy()
        other = modality.augment(x, np.random.default_rng(seed), strength)
        np.testing.assert_array_equal(x, before)  # the cached patches stay as they are
        assert other.shape[1:] == x.shape[1:]
        assert 1 <= len(other) <= modality.longest
        assert other.dtype == x.dtype == np.float32
        again = modality.augment(x, np.random.default_rng(seed), strength)
        np.testing.assert_array_equal(other, again)
        found = modality.statistics(x)
        sizes.add(found.shape)
        assert np.isfinite(x).all()
        assert np.isfinite(other).all()
        assert np.isfinite(found).all()
        json.dumps(CARRIER.preview(signal), allow_nan=False)
    assert len(sizes) == 1
    assert sizes.pop()[0] < 1700


@pytest.mark.parametrize("holes", [0, 7])
def test_augment_of_strength_zero_changes_nothing(holes):
    signals = [Signal(values=waves(60 + i, seed=i)) for i in range(5)]
    for signal in signals:
        signal.values[:holes, 1] = np.nan
    modality = learned(signals)
    x = modality.patches(signals[0])
    np.testing.assert_allclose(modality.augment(x, np.random.default_rng(0), 0.0), x, atol=1e-6)
    assert np.abs(modality.augment(x, np.random.default_rng(0), 1.0) - x).mean() > 0.01


def test_preview_is_small():
    shown = CARRIER.preview(Signal(values=waves(5000, 9), rate_hz=100.0, unit="mV"))
    assert len(shown["lines"]) == 6
    assert max(map(len, shown["lines"])) == 200
    assert shown["seconds"] == 50
    assert shown["unit"] == "mV"
