"""Mel filters and log-mel frames against their definitions, one frame and one frequency at a time."""

import numpy as np
import pytest

from sensorium.modalities.audio import RATE_HZ
from sensorium.modalities.grid import analysis, log_mel, mel_edges, mel_filters


def tone(count: int) -> np.ndarray:
    """A swelling and fading tone of (count,) samples, so that no two moments are alike."""
    t = np.arange(count) / RATE_HZ
    swell = np.sin(np.pi * t / max(t[-1], 1e-9)) ** 2
    return (0.5 * np.sin(2 * np.pi * 440 * t) * swell).astype(np.float32)


def mel_filters_by_the_book(bands, size, rate):
    """Slaney's filters, one number at a time."""

    def hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(rate / 2 / 1000) / np.log(6.4)
    edges = [hz(top * i / (bands + 1)) for i in range(bands + 2)]
    filters = np.zeros((bands, size // 2 + 1))
    for band in range(bands):
        low, middle, high = edges[band : band + 3]
        for i in range(size // 2 + 1):
            f = i * rate / size
            if low < f <= middle:
                filters[band, i] = (f - low) / (middle - low)
            elif middle < f < high:
                filters[band, i] = (high - f) / (high - middle)
        filters[band] *= 2 / (high - low)
    return filters


@pytest.mark.parametrize(("bands", "size", "rate"), [(64, 512, 16000), (20, 256, 8000), (128, 1024, 16000)])
def test_mel_filters_equal_their_definition(bands, size, rate):
    ours = mel_filters(bands, size, rate)
    np.testing.assert_allclose(ours, mel_filters_by_the_book(bands, size, rate), atol=1e-8)
    assert (ours.sum(1) > 0).all()
    assert mel_edges(bands, rate)[-1] == pytest.approx(rate / 2)


def log_mel_by_the_book(samples, bands, hop, rate):
    """One frame and one frequency at a time."""
    window, size = analysis(hop, bands, rate)
    samples = samples / np.abs(samples).max()
    filters = mel_filters_by_the_book(bands, size, rate)
    frames = []
    for centre in range(0, len(samples), hop):
        frame = np.zeros(size)
        for i in range(window):
            at = centre - window // 2 + i
            if 0 <= at < len(samples):
                frame[i] = samples[at] * (0.5 - 0.5 * np.cos(2 * np.pi * i / window))
        phases = np.exp(-2j * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size)
        frames.append(filters @ np.abs(phases @ frame) ** 2)
    mel = np.array(frames)
    return np.maximum(10 * np.log10(np.maximum(mel / mel.max(), 1e-30)), -80)


@pytest.mark.parametrize(
    ("count", "hop"), [(1600, 160), (1601, 160), (1599, 320), (700, 640), (1, 160), (159, 160)]
)
def test_log_mel_equals_its_definition(count, hop):
    samples = np.random.default_rng(count).normal(size=count).astype(np.float32) * 0.1 + tone(count)
    ours = log_mel(samples, bands=40, hop=hop, rate_hz=RATE_HZ)
    np.testing.assert_allclose(ours, log_mel_by_the_book(samples, 40, hop, RATE_HZ), atol=2e-3)


def test_log_mel_has_no_seam_between_blocks():
    samples = np.random.default_rng(0).normal(size=40 * 2100).astype(np.float32)
    long = log_mel(samples, bands=16, hop=40, rate_hz=RATE_HZ)
    assert len(long) == 2100
    part = log_mel(samples[40 * 2000 :], bands=16, hop=40, rate_hz=RATE_HZ)
    gap = (long[2000:] - part)[20:]
    assert np.ptp(gap) < 1e-2  # the same up to the level of the loudest point


@pytest.mark.parametrize("bands", [8, 40, 64, 128, 256])
@pytest.mark.parametrize("hop", [32, 160, 640, 3000])
def test_analysis_leaves_no_gap_and_no_empty_band(bands, hop):
    window, size = analysis(hop, bands, RATE_HZ)
    assert size >= window >= hop
    assert (mel_filters(bands, size, RATE_HZ).sum(1) > 0).all()
