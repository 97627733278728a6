"""A small speaking machine in numpy: the ten English digits by source and filter, in several voices.

The source is a train of glottal pulses or noise; the filter is a sum of vocal-tract resonances (formants)
that glides from phone to phone (Fant, Acoustic Theory of Speech Production, 1960). Vowel formants follow the
averages of Peterson & Barney (J. Acoust. Soc. Am. 24, 1952).
"""

from dataclasses import dataclass

import numpy as np

RATE_HZ = 16_000  # samples per second of what `say` returns
FRAME, HOP = 512, 80  # analysis frame and step of the filter, in samples (32 ms, 5 ms)


@dataclass(frozen=True, slots=True)
class Phone:
    """What the vocal tract aims at while one speech sound lasts."""

    formants_hz: tuple[int, int, int]
    voice: float = 1.0  # amplitude of the pulses
    hiss: float = 0.0  # amplitude of the noise
    hiss_hz: tuple[int, int] = (4000, 3000)  # centre and width of the noise band
    lasts_s: float = 0.09


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """One speaker."""

    name: str
    pitch_hz: float  # of the glottal pulses
    tract: float  # formants relative to an adult man's: a shorter vocal tract has higher ones
    pace: float  # speed of speech, 1.0 is normal
    breath: float  # noise mixed into the pulses, 0..1
    tilt: float  # fall of the source spectrum with frequency, 1.0 is a plain voice, 2.0 a soft one


PHONES = {
    "IY": Phone((270, 2290, 3010), lasts_s=0.16),
    "IH": Phone((390, 1990, 2550)),
    "EH": Phone((530, 1840, 2480)),
    "AH": Phone((640, 1190, 2390), lasts_s=0.11),
    "AA": Phone((730, 1090, 2440), lasts_s=0.11),
    "AO": Phone((570, 840, 2410), lasts_s=0.15),
    "UW": Phone((310, 1150, 2240), lasts_s=0.16),
    "UH": Phone((440, 1020, 2240), voice=0.8),
    "R": Phone((420, 1300, 1600), voice=0.7, lasts_s=0.08),
    "W": Phone((290, 610, 2150), voice=0.6, lasts_s=0.08),
    "N": Phone((250, 1450, 2600), voice=0.35),
    "V": Phone((220, 1100, 2080), voice=0.35, hiss=0.12, hiss_hz=(3500, 5000), lasts_s=0.07),
    "Z": Phone((250, 1600, 2500), voice=0.3, hiss=0.5, hiss_hz=(5500, 2500)),
    "S": Phone((300, 1600, 2500), voice=0.0, hiss=0.8, hiss_hz=(5800, 2200), lasts_s=0.12),
    "F": Phone((300, 1100, 2100), voice=0.0, hiss=0.25, hiss_hz=(4000, 6000), lasts_s=0.11),
    "TH": Phone((300, 1400, 2500), voice=0.0, hiss=0.18, hiss_hz=(5500, 5000), lasts_s=0.10),
    "T": Phone((300, 1700, 2600), voice=0.0, hiss=0.9, hiss_hz=(4500, 3000), lasts_s=0.03),
    "K": Phone((300, 1900, 2400), voice=0.0, hiss=0.7, hiss_hz=(2200, 1500), lasts_s=0.03),
    "-": Phone((300, 1500, 2500), voice=0.0, lasts_s=0.05),  # the closure before a stop
}

DIGITS = (
    "Z IH R UH UW",
    "W AH N",
    "- T UW",
    "TH R IY",
    "F AO R",
    "F AA IH V",
    "S IH - K S",
    "S EH V AH N",
    "EH IY - T",
    "N AA IH N",
)

VOICES = (
    Voice(name="arno", pitch_hz=95, tract=0.96, pace=0.95, breath=0.05, tilt=1.0),
    Voice(name="bela", pitch_hz=120, tract=1.0, pace=1.05, breath=0.10, tilt=1.3),
    Voice(name="carl", pitch_hz=108, tract=1.03, pace=0.85, breath=0.20, tilt=1.1),
    Voice(name="dina", pitch_hz=205, tract=1.15, pace=1.0, breath=0.10, tilt=1.2),
    Voice(name="ella", pitch_hz=230, tract=1.19, pace=1.15, breath=0.15, tilt=1.5),
    Voice(name="fina", pitch_hz=180, tract=1.12, pace=0.9, breath=0.30, tilt=1.6),
    Voice(name="gabi", pitch_hz=260, tract=1.24, pace=1.05, breath=0.10, tilt=1.3),
    Voice(name="hugo", pitch_hz=135, tract=1.05, pace=1.2, breath=0.08, tilt=0.9),
    Voice(name="ines", pitch_hz=195, tract=1.09, pace=1.1, breath=0.18, tilt=1.4),
    Voice(name="jan", pitch_hz=112, tract=0.98, pace=1.1, breath=0.12, tilt=1.4),
    Voice(name="kim", pitch_hz=165, tract=1.07, pace=1.0, breath=0.25, tilt=1.2),
    Voice(name="lena", pitch_hz=215, tract=1.17, pace=0.92, breath=0.12, tilt=1.1),
)


def say(digit: int, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Speak one digit 0..9; (samples,) float32 in -1..1 at RATE_HZ, between 0.2 and 0.9 s.

    No two takes are alike: pace, pitch, melody and the place of every formant vary a little with `rng`.
    """
    track = _track([PHONES[p] for p in DIGITS[digit].split()], voice, rng)
    samples = len(track) * HOP
    pulses = _pulses(samples, voice, rng)
    air = rng.standard_normal(samples)
    spoken = _filtered(pulses + voice.breath * 0.4 * air, _tract_gain(track, voice) * track[:, 3:4])
    spoken = spoken / (np.sqrt(np.mean(spoken**2)) + 1e-9) * 0.1
    hissed = _filtered(air, _hiss_gain(track) * track[:, 4:5]) * 0.2
    sound = spoken + hissed
    return (0.7 * sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)


def _track(phones: list[Phone], voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Where the tract stands every HOP samples: (frames, 7) formants, voice, hiss, hiss centre and width.

    The aims of neighbouring phones glide into each other, as tongues do (coarticulation).
    """
    pace = voice.pace * rng.uniform(0.85, 1.15)
    frames = [max(3, round(p.lasts_s * rng.uniform(0.85, 1.15) / pace * RATE_HZ / HOP)) for p in phones]
    rows = []
    for phone, count in zip(phones, frames, strict=True):
        formants = np.array(phone.formants_hz) * voice.tract * rng.uniform(0.96, 1.04, 3)
        rows += [[*formants, phone.voice, phone.hiss, *phone.hiss_hz]] * count
    track = np.pad(np.array(rows), ((6, 6), (0, 0)), mode="edge")
    track[:6, 3:5] = track[-6:, 3:5] = 0.0
    smooth = np.hanning(9)[1:-1] / np.hanning(9).sum()
    return np.stack([np.convolve(np.pad(c, 3, mode="edge"), smooth, mode="valid") for c in track.T], axis=1)


def _pulses(samples: int, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Glottal pulses whose pitch falls over the word and trembles a little; (samples,)."""
    start = voice.pitch_hz * rng.uniform(0.92, 1.1)
    pitch = start * np.linspace(rng.uniform(1.0, 1.12), rng.uniform(0.78, 0.95), samples)
    knots = max(2, samples // 400)
    tremble = np.interp(np.arange(samples), np.linspace(0, samples, knots), rng.normal(0, 0.012, knots))
    phase = np.cumsum(pitch * (1 + tremble)) / RATE_HZ
    return np.diff(np.floor(phase), prepend=0.0) * np.sqrt(RATE_HZ / voice.pitch_hz)


def _tract_gain(track: np.ndarray, voice: Voice) -> np.ndarray:
    """Resonances of the vocal tract and the fall of the source; (frames, FRAME / 2 + 1)."""
    hz = np.fft.rfftfreq(FRAME, 1 / RATE_HZ)
    gain = np.full((len(track), len(hz)), 0.004)
    for i, (width_hz, weight) in enumerate(((70, 1.0), (100, 0.6), (150, 0.35))):
        gain += weight / (1 + ((hz - track[:, i : i + 1]) / width_hz) ** 2)
    return gain / (1 + (hz / 700) ** 2) ** (0.25 * voice.tilt)


def _hiss_gain(track: np.ndarray) -> np.ndarray:
    """Loudness of the noise over frequency; (frames, FRAME / 2 + 1)."""
    hz = np.fft.rfftfreq(FRAME, 1 / RATE_HZ)
    return np.exp(-2 * ((hz - track[:, 5:6]) / track[:, 6:7]) ** 2)


def _filtered(sound: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Filter a sound by another gain curve every HOP samples, by overlap and add; (samples,)."""
    padded = np.pad(sound, FRAME)
    starts = FRAME // 2 + np.arange(len(gain)) * HOP
    window = np.hanning(FRAME)
    cut = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[starts] * window
    shaped = np.fft.irfft(np.fft.rfft(cut) * gain, FRAME) * window
    out = np.zeros(len(padded))
    for start, piece in zip(starts, shaped, strict=True):
        out[start : start + FRAME] += piece
    return out[FRAME : FRAME + len(sound)] * (HOP / np.sum(window**2))
