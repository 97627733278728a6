"""Corruptions of every carrier: pure, seeded, graded, and still readable by the carrier."""

import difflib
import math
from dataclasses import replace

import numpy as np
import pytest

from sensorium.modalities import CARRIERS
from sensorium.modalities.damage import SEVERITIES, lost, span
from sensorium.types import InputError, Signal

SEEDS = range(12)


def picture(seed: int, high: int = 40, wide: int = 56, channels: int = 3) -> Signal:
    y, x = np.mgrid[:high, :wide]
    rng = np.random.default_rng(seed)
    waves = [np.sin(x / rng.uniform(1, 4) + rng.uniform(0, 6)) * np.cos(y / 3) for _ in range(channels)]
    return Signal(values=(128 + 100 * np.stack(waves, -1)).astype(np.uint8))


def clip(seed: int) -> Signal:
    frames = [picture(100 * seed + i, 24, 32).values for i in range(12)]
    return Signal(values=np.stack(frames), times_s=np.arange(12) / 8)


def sound(seed: int, seconds: float = 0.6) -> Signal:
    rng = np.random.default_rng(seed)
    t = np.arange(round(16000 * seconds)) / 16000
    voice = sum(np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)) for hz in (220, 900, 2600, 4200, 6500))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)
    return Signal(values=(0.05 * voice * swell).astype(np.float32)[:, None], rate_hz=16000.0)


def motion(seed: int, channels: int = 4, steps: int = 200) -> Signal:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (steps, channels)).cumsum(0).astype(np.float32)
    return Signal(values=values, rate_hz=50.0, unit="m/s2", channels=tuple(f"c{i}" for i in range(channels)))


def words(seed: int) -> Signal:
    rng = np.random.default_rng(seed)
    known = "the hive hums softly while seven tired bees carry pollen home over wet fields".split()
    return Signal(values=np.array([" ".join(rng.choice(known, 30))], dtype=object))


def cloud(seed: int, frames: int = 0) -> Signal:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, [2, 2, 0.5, 1], (400, 4)).astype(np.float32)
    times = np.sort(rng.integers(0, frames, 400)) * 0.1 if frames else None
    return Signal(values=values, times_s=times, unit="m", channels=("x", "y", "z", "power"))


def fields(seed: int) -> Signal:
    rng = np.random.default_rng(seed)
    cells = [
        *rng.normal(50, 9, 6),
        "8.25",
        *rng.choice(["green", "blue", "red"], 5),
        None,
        True,
        int(rng.integers(9)),
    ]
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    return Signal(values=values, channels=tuple(f"f{i}" for i in range(len(cells))))


MAKERS = {
    "image": picture,
    "video": clip,
    "audio": sound,
    "series": motion,
    "text": words,
    "points": cloud,
    "table": fields,
}
EVERY = [(carrier, name) for carrier in MAKERS for name in CARRIERS[carrier].corruptions]


def damaged(carrier: str, name: str, signal: Signal, severity: int, seed: int = 0) -> Signal:
    return CARRIERS[carrier].corruptions[name](signal, np.random.default_rng(seed), severity)


def same(a: Signal, b: Signal) -> bool:
    if a.values.dtype == object:
        alike = a.values.tolist() == b.values.tolist()
    else:
        alike = a.values.dtype == b.values.dtype and np.array_equal(
            a.values, b.values, equal_nan=b.values.dtype.kind == "f"
        )
    times = a.times_s is b.times_s or np.array_equal(a.times_s, b.times_s)
    return alike and times and (a.unit, a.rate_hz, a.channels) == (b.unit, b.rate_hz, b.channels)


def distance(a: Signal, b: Signal) -> float:
    """How far two signals are apart; what is lost counts as far away."""
    if a.values.dtype == object and len(a.values) == 1:
        return 1 - difflib.SequenceMatcher(None, a.values[0], b.values[0], autojunk=False).ratio()
    if a.values.dtype == object:
        return float(np.mean([_apart(x, y) for x, y in zip(a.values, b.values, strict=True)]))
    if len(a.values) != len(b.values):
        return 1 - len(b.values) / len(a.values)
    gap = np.abs(a.values.astype(float) - b.values.astype(float))
    return float(np.where(np.isnan(gap), 3.0, gap).mean())


def _apart(x: object, y: object) -> float:
    if x == y:
        return 0.0
    return 2.0 if y is None or isinstance(y, str) else min(2.0, abs(math.log(max(1e-9, y / float(x)))))  # type: ignore[operator, arg-type]


def test_every_carrier_has_a_few():
    assert set(MAKERS) == set(CARRIERS), "a new carrier needs a maker here"
    for carrier in CARRIERS.values():
        assert 3 <= len(carrier.corruptions) <= 6, carrier.name


@pytest.mark.parametrize(("carrier", "name"), EVERY)
def test_severity_nought_changes_nothing_and_the_input_is_never_touched(carrier, name):
    signal, kept = MAKERS[carrier](1), MAKERS[carrier](1)
    assert same(damaged(carrier, name, signal, 0), kept)
    if signal.values.dtype != object:
        signal.values.flags.writeable = False  # decoders hand out such arrays, and a write would raise
    for severity in SEVERITIES[1:]:
        damaged(carrier, name, signal, severity)
        assert same(signal, kept)
    with pytest.raises(InputError, match="severity"):
        damaged(carrier, name, signal, 6)


@pytest.mark.parametrize(("carrier", "name"), EVERY)
def test_the_same_seed_gives_the_same_and_another_seed_new_damage(carrier, name):
    signal = MAKERS[carrier](2)
    first = damaged(carrier, name, signal, 3, seed=5)
    assert same(first, damaged(carrier, name, signal, 3, seed=5))
    assert not same(first, signal)
    if name not in (
        "blur",
        "low light",
        "compression",
        "clipping",
        "band limit",
        "cut off",
    ):  # no chance in these
        assert any(not same(first, damaged(carrier, name, signal, 3, seed=s)) for s in range(6, 9))


@pytest.mark.parametrize(("carrier", "name"), EVERY)
def test_damage_grows_with_severity(carrier, name):
    signals = [MAKERS[carrier](seed) for seed in SEEDS]
    means = [
        np.mean([distance(s, damaged(carrier, name, s, k, seed=i)) for i, s in enumerate(signals)])
        for k in SEVERITIES
    ]
    assert means[0] == 0
    assert all(b > a for a, b in zip(means, means[1:], strict=False)), means


@pytest.mark.parametrize(("carrier", "name"), EVERY)
def test_what_comes_out_is_a_signal_that_the_carrier_reads(carrier, name):
    kinds = [MAKERS[carrier](seed) for seed in range(4)]
    if carrier == "points":
        kinds += [cloud(9, frames=10)]
    options = CARRIERS[carrier].survey(kinds[:4])
    modality = CARRIERS[carrier].define("m", "m", **options)
    framed = (
        CARRIERS[carrier].define("m", "m", **CARRIERS[carrier].survey(kinds[4:])) if kinds[4:] else modality
    )
    for i, signal in enumerate(kinds):
        for severity in SEVERITIES:
            found = damaged(carrier, name, signal, severity, seed=i)
            read = (modality if i < 4 else framed).patches(found)
            assert 1 <= len(read) <= (modality if i < 4 else framed).longest
            assert read.shape[1:] == (modality if i < 4 else framed).item
            assert read.dtype.kind in "iu" or np.isfinite(read).all()
            if signal.values.dtype != object and carrier != "series":
                assert found.values.dtype == signal.values.dtype
            assert found.values.shape[1:] == signal.values.shape[1:]
            if found.times_s is not None:
                assert len(found.times_s) == len(found.values)
                assert (np.diff(found.times_s) >= 0).all()


SMALLEST = {
    "image": Signal(values=np.full((1, 1, 1), 7, np.uint8)),
    "video": Signal(values=np.full((1, 1, 2, 3), 7, np.uint8), times_s=np.zeros(1)),
    "audio": Signal(values=np.zeros((1, 1), np.float32), rate_hz=16000.0),
    "series": Signal(values=np.array([[1, 2]], np.int16)),
    "text": Signal(values=np.array(["x"], dtype=object)),
    "points": Signal(values=np.zeros((1, 3), np.float32), unit="m"),
    "table": Signal(values=np.array([3.5], dtype=object), channels=("f",)),
}


@pytest.mark.parametrize(("carrier", "name"), EVERY)
def test_the_smallest_signals_are_never_emptied(carrier, name):
    signal = SMALLEST[carrier]
    modality = CARRIERS[carrier].define("m", "m", **CARRIERS[carrier].survey([signal]))
    for severity in SEVERITIES:
        for seed in range(8):
            assert len(modality.patches(damaged(carrier, name, signal, severity, seed=seed)))


# --- what single ones promise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "wanted"), [(1, 20), (2, 15), (3, 10), (4, 5), (5, 0)])
def test_noisy_sound_has_the_stated_ratio(severity, wanted):
    for seed in SEEDS:
        clean = sound(seed)
        noise = damaged("audio", "white noise", clean, severity, seed=seed).values - clean.values
        found = 10 * math.log10(float((clean.values.astype(float) ** 2).mean() / (noise**2).mean()))
        assert found == pytest.approx(wanted, abs=0.5)


def test_noise_is_new_for_each_element():
    grey = Signal(values=np.full((6, 64, 64, 3), 128, np.uint8), times_s=np.arange(6.0))
    noise = damaged("video", "sensor noise", grey, 1).values.astype(float) - 128
    flat = noise.reshape(6, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(6)).max() < 0.05, "each frame has its own"
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.05, "and each colour"
    assert noise.std() == pytest.approx(12, rel=0.05)


def test_a_large_photo_is_damaged_as_a_small_one_is():
    """Fine noise would be averaged away when the photo is shrunk for the network."""
    modality = CARRIERS["image"].define("m", "m", side=32, channels=3)
    for name in ("sensor noise", "compression", "blur"):
        gaps = []
        for side in (128, 1024):
            flat = picture(0, 32, 32).values.repeat(side // 32, 0).repeat(side // 32, 1)
            bad = damaged("image", name, Signal(values=flat), 4)
            gaps.append(
                np.abs(modality.patches(bad).astype(float) - modality.patches(Signal(values=flat))).mean()
            )
        assert gaps[1] == pytest.approx(gaps[0], rel=0.35), name


def test_a_telephone_lets_low_tones_through():
    t = np.arange(16000) / 16000
    for hz, passes in ((1000, True), (6000, False)):
        tone = Signal(values=np.sin(2 * np.pi * hz * t).astype(np.float32)[:, None], rate_hz=16000.0)
        heard = damaged("audio", "band limit", tone, 2)
        assert (heard.values.std() > 0.9 * tone.values.std()) == passes


def test_a_hall_keeps_the_power_and_leaves_an_echo():
    click = np.zeros((16000, 1), np.float32)
    click[100] = 1
    heard = damaged("audio", "reverberation", Signal(values=click, rate_hz=16000.0), 3).values[:, 0]
    assert (heard.astype(float) ** 2).sum() == pytest.approx(1, rel=1e-3)
    assert np.abs(heard[:100]).max() < 1e-5, "nothing comes before its cause"
    early, late = (np.square(heard[a : a + 1600]).sum() for a in (200, 8000))
    assert early > 100 * late > 0


def test_lost_sound_is_silent_in_packets():
    gone = damaged("audio", "lost spans", sound(3, 4.0), 4).values[:, 0] == 0
    packets = gone[: len(gone) // 800 * 800].reshape(-1, 800).mean(1)
    assert set(np.unique(packets)) <= {0, 1} or ((packets < 0.01) | (packets > 0.99)).all()
    assert packets.mean() == pytest.approx(0.5, abs=0.2)


def test_lost_readings_are_missing_and_not_nought():
    found = damaged("series", "lost spans", motion(1), 3)
    assert np.isnan(found.values).any(1).mean() == pytest.approx(0.35, abs=0.2)
    assert (np.isnan(found.values).any(1) == np.isnan(found.values).all(1)).all()
    counts = Signal(values=np.arange(300).reshape(100, 3), channels=("a", "b", "c"))
    assert np.isnan(damaged("series", "lost spans", counts, 3).values).any(), "counts, too"


def test_turned_arrays_are_damaged_along_time():
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 100.0, 10000.0])
    upright = rng.normal(0, 1, (400, 3)).cumsum(0) * scale
    turned = Signal(values=upright.T.copy())
    for name in CARRIERS["series"].corruptions:
        found = damaged("series", name, turned, 2, seed=4).values
        wanted = damaged("series", name, Signal(values=upright, channels=("a", "b", "c")), 2, seed=4).values
        assert np.array_equal(found.T, wanted, equal_nan=True), name


def test_series_noise_is_in_each_channel_s_own_unit_and_gaps_stay_gaps():
    clean = motion(0)
    wide = clean.values * np.array([1, 10, 100, 0], np.float32)
    wide[5:9, 1] = np.nan
    gap = damaged("series", "noise", replace(clean, values=wide), 3).values - wide
    assert np.array_equal(np.isnan(gap), np.isnan(wide))
    assert np.nanstd(gap, 0)[:3] == pytest.approx(0.5 * np.nanstd(wide, 0)[:3], rel=0.2)
    assert (gap[:, 3] == 0).all(), "a dead channel has no spread to go by"


def test_a_view_is_blocked_as_one_span_or_one_sector():
    found = damaged("points", "blocked view", cloud(1, frames=20), 4)
    left = np.isin(np.arange(20), np.round(found.times_s / 0.1).astype(int))
    assert left.sum() == 10
    edges = np.abs(np.diff(np.concatenate([[1], left.astype(int), [1]]))).sum()
    assert edges == 2, "one span"
    ring = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    plain = Signal(values=np.stack([np.cos(ring), np.sin(ring), 0 * ring], 1).astype(np.float32))
    seen = damaged("points", "blocked view", plain, 4).values
    assert len(seen) == pytest.approx(200, abs=3)
    gaps = np.sort(np.diff(np.sort(np.arctan2(seen[:, 1], seen[:, 0]))))
    assert (gaps > 0.1).sum() <= 1, "one sector"


@pytest.mark.parametrize("name", ["typing errors", "lost words", "shuffled order", "cut off"])
def test_scripts_without_blanks_are_damaged_too(name):
    text = Signal(
        values=np.array(
            ["\u4eca\u65e5\u306f\u3068\u3066\u3082\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u306d"],
            dtype=object,
        )
    )
    assert damaged("text", name, text, 4).values[0] != text.values[0]


def test_shuffling_and_losing_keep_words_whole():
    text = words(0)
    before = sorted(text.values[0].split())
    assert sorted(damaged("text", "shuffled order", text, 5).values[0].split()) == before
    assert set(damaged("text", "lost words", text, 3).values[0].split()) <= set(before)


def test_fields_keep_their_kind():
    signal = fields(3)
    for name in CARRIERS["table"].corruptions:
        for severity in SEVERITIES:
            found = damaged("table", name, signal, severity).values
            assert found[12] is None, "absent stays absent"
            for before, after in zip(signal.values, found, strict=True):
                if isinstance(before, float) and after is not None:
                    assert isinstance(after, float)
                if isinstance(before, bool) and after is not None:
                    assert after is before
    slipped = damaged("table", "slipped decimal points", signal, 5).values
    factors = {round(float(b) / float(a), 6) for a, b in zip(signal.values[:7], slipped[:7], strict=True)}
    assert factors <= {0.1, 1.0, 10.0}
    assert len(factors) > 1


def test_lost_steps_are_nested_and_one_stays():
    masks = [lost(np.random.default_rng(3), 50, share, wide=4) for share in (0.0, 0.3, 0.6, 1.0)]
    assert not masks[0].any()
    assert all((a <= b).all() for a, b in zip(masks, masks[1:], strict=False))
    assert not masks[-1].all()
    assert all(
        0 <= s.start < s.stop <= 7 for s in (span(np.random.default_rng(i), 7, 0.4) for i in range(20))
    )
