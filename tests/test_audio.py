"""Sound: formats against the bare libraries, spans, limits, damage, patches, augmentation."""

import base64
import io
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.modalities.audio import (
    CARRIER,
    RATE_HZ,
    augment,
    masked,
    moved,
    patches,
    standardised,
    statistics,
    with_noise,
)
from sensorium.modalities.grid import log_mel
from sensorium.types import InputError, Limits, Media

LIMITS = Limits(samples=2_000_000)


def tone(seconds=1.0, hz=440.0, rate=RATE_HZ, *, level=0.5):
    """A tone that swells and fades, so that no two moments are alike."""
    t = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hz * t) * np.sin(np.pi * t / max(seconds, 1e-9)) ** 2).astype(
        np.float32
    )


def packed(samples, form="WAV", subtype=None, rate=RATE_HZ):
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=form, subtype=subtype)
    return out.getvalue()


def film(samples, *, form="mp4", codec="aac", rate=RATE_HZ, pictures=True, sound=True):
    """A container made by FFmpeg, with or without pictures and sound."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        streams = []
        if pictures:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            streams.append((stream, [black] * 5))
        if sound:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            whole = av.AudioFrame.from_ndarray(
                (samples[None] * 32767).astype(np.int16), format="s16", layout="mono"
            )
            whole.rate = rate
            streams.append((stream, [whole]))
        for stream, frames in streams:
            for frame in (*frames, None):
                for packet in stream.encode(frame):
                    container.mux(packet)
    return out.getvalue()


def decoded(content, *, limits=LIMITS, **media):
    return CARRIER.decode(Media(content=content, name="x.wav", **media), limits)


def loudest_hz(values, rate=RATE_HZ):
    return np.abs(np.fft.rfft(values[:, 0])).argmax() * rate / len(values)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_of_every_depth_equals_the_bare_library(subtype):
    content = packed(tone(), subtype=subtype)
    bare, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    signal = decoded(content)
    assert signal.values.dtype == np.float32
    assert signal.rate_hz == RATE_HZ
    np.testing.assert_allclose(signal.values[:, 0], bare - bare.mean(), atol=1e-7)
    np.testing.assert_allclose(signal.values[:, 0], tone(), atol=0.01)


@pytest.mark.parametrize(
    ("form", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)]
)
def test_other_formats_hold_the_same_sound(form, subtype):
    signal = decoded(packed(tone(), form, subtype))
    assert abs(len(signal.values) - RATE_HZ) < 0.1 * RATE_HZ
    assert abs(loudest_hz(signal.values) - 440) < 5


@pytest.mark.parametrize(
    ("form", "codec"),
    [("mp4", "aac"), ("matroska", "libopus"), ("webm", "libopus"), ("mov", "aac"), ("ipod", "aac")],
)
def test_the_sound_of_containers(form, codec):
    content = film(
        tone(2.0),
        form=form,
        codec=codec,
        pictures=form not in ("webm", "ipod"),
        rate=48000 if codec == "libopus" else RATE_HZ,
    )
    signal = decoded(content)
    times = 3 if codec == "libopus" else 1  # played at 48 kHz the tone is three times as high
    assert abs(loudest_hz(signal.values) - 440 * times) < 5
    assert np.abs(signal.values).max() == pytest.approx(0.5, abs=0.03)
    assert abs(len(signal.values) - 32000 // times) < 2500


def test_a_silent_video_has_no_sound_and_that_is_no_error():
    assert decoded(film(tone(), sound=False)) is None


def test_stereo_is_mixed_and_the_offset_removed():
    left, right = tone(hz=300), tone(hz=500)
    signal = decoded(packed(np.stack([left, right], 1) * 0.5 + 0.3, subtype="FLOAT"))
    np.testing.assert_allclose(signal.values[:, 0], (left + right) / 4, atol=1e-5)
    array = decoded(
        np.stack([left, right]), rate_hz=16000.0
    )  # (channels, samples), as some libraries have it
    np.testing.assert_allclose(array.values[:, 0], (left + right) / 2, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_every_rate_becomes_16_khz_as_the_bare_resampler_does(rate):
    import soxr

    samples = tone(rate=rate)
    signal = decoded(packed(samples, subtype="FLOAT", rate=rate))
    np.testing.assert_allclose(
        signal.values[:, 0], soxr.resample(samples - samples.mean(), rate, RATE_HZ), atol=1e-6
    )
    assert abs(len(signal.values) - RATE_HZ) <= 1
    np.testing.assert_allclose(signal.values[500:-500, 0], tone()[500 : len(signal.values) - 500], atol=2e-3)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float64])
def test_arrays_of_every_type(dtype):
    if np.dtype(dtype).kind == "f":
        array = tone().astype(dtype)
    else:
        top = np.iinfo(dtype).max
        array = (tone() * top * 0.49 + (top / 2 if dtype == np.uint8 else 0)).astype(dtype)
    values = decoded(array, rate_hz=16000.0).values[:, 0]
    assert np.corrcoef(values, tone())[0, 1] > 0.999
    assert np.abs(values).max() <= 1


@pytest.mark.parametrize(
    "make", [lambda x: packed(x, subtype="FLOAT"), lambda x: packed(x, "FLAC"), lambda x: packed(x, "OGG")]
)
def test_a_span_equals_the_part_of_the_whole(make):
    content = make(np.concatenate([tone(1, 300), tone(1, 600), tone(1, 900)]))
    whole = decoded(content).values
    part = decoded(content, span_s=(1.25, 1.75))
    assert part.values.shape == (8000, 1)
    expected = whole[20000:28000]
    np.testing.assert_allclose(part.values, expected - expected.mean(), atol=2e-3)
    for span in [(5.0, 6.0), (2.0, 1.0), (-1.0, 1.0), (1.0, 1.0)]:
        with pytest.raises(InputError, match="span"):
            decoded(content, span_s=span)
    assert len(decoded(content, span_s=(2.5, float("inf"))).values) == 8000


def test_a_span_of_a_film_is_found():
    content = film(
        np.concatenate([tone(3, 300), tone(3, 600), tone(3, 900)]),
        form="matroska",
        codec="pcm_s16le",
        pictures=False,
    )
    part = decoded(content, span_s=(4.0, 5.0))
    assert part.values.shape == (16000, 1)
    np.testing.assert_allclose(part.values[:, 0], tone(3, 600)[16000:32000], atol=1e-3)
    with pytest.raises(InputError):
        decoded(content, span_s=(50.0, 51.0))


def test_limits_hold_before_memory_is_taken():
    with pytest.raises(InputError, match="--limit samples=16000"):
        decoded(packed(tone()), limits=Limits(samples=15999))
    assert decoded(packed(tone()), limits=Limits(samples=16000)) is not None
    with pytest.raises(InputError, match="samples"):
        decoded(film(tone(2.0)), limits=Limits(samples=15999))
    content = bytearray(packed(tone(), "FLAC"))  # a header that promises 2^36 - 1 samples
    content[21:26] = bytes([content[21] | 0x0F, 255, 255, 255, 255])
    with pytest.raises(InputError, match="samples"):
        decoded(bytes(content))


@pytest.mark.parametrize("spoil", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(spoil):
    samples = tone()
    samples[77] = spoil
    with pytest.raises(InputError, match="NaN"):
        decoded(packed(samples, subtype="FLOAT"))
    with pytest.raises(InputError, match="NaN"):
        decoded(samples, rate_hz=16000.0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"some text",
        b"\xff\xd8\xff\xe0 a photo",
        "x",
        None,
        np.zeros((0, 1)),
        np.zeros((2, 2, 2)),
        np.array(["a"]),
    ],
)
def test_what_is_no_sound_is_refused(content):
    with pytest.raises(InputError):
        decoded(content, rate_hz=16000.0)


def test_sound_without_samples_without_rate_or_with_an_impossible_one():
    with pytest.raises(InputError):
        decoded(packed(np.zeros(0)))
    with pytest.raises(InputError, match="samples per second"):
        decoded(tone())
    with pytest.raises(InputError, match="samples a second"):
        decoded(tone(), rate_hz=3.0)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_file_that_is_cut_off_is_refused(form):
    content = packed(tone(2.0) + np.random.default_rng(0).normal(size=32000) * 0.01, form)
    for share in (0.3, 0.6, 0.9):
        if form == "FLAC" and share > 0.8:
            continue  # the last block may be whole by chance
        with pytest.raises(InputError):
            decoded(content[: int(len(content) * share)])


def test_a_wav_that_was_streamed_and_so_has_no_length_is_read():
    content = bytearray(packed(tone()))
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    assert len(decoded(bytes(content)).values) == 16000


def damaged(content, seed, count):
    rng = np.random.default_rng(seed)
    yield from (content[: len(content) * tenth // 10] for tenth in range(10))
    for i in range(count):
        spoilt = bytearray(content)
        for at in rng.integers(0, min(200, len(content)) if i % 2 else len(content), rng.integers(1, 6)):
            spoilt[at] ^= 1 << rng.integers(0, 8)
        yield bytes(spoilt)


def is_refused(content):
    try:
        signal = decoded(content)
    except InputError:
        return True
    made = None if signal is None else patches(signal, rate_hz=16000, bands=40, hop_s=0.01, longest=50)
    assert made is None or np.isfinite(made).all()
    return False


@pytest.mark.parametrize("make", [
    lambda: packed(tone(0.2)), lambda: packed(tone(0.2), subtype="FLOAT"), lambda: packed(tone(0.2), "FLAC"),
    lambda: packed(tone(0.2), "OGG"), lambda: packed(tone(0.2), "MP3"), lambda: film(tone(0.2)),
    lambda: film(tone(0.2), form="matroska", codec="pcm_s16le"),
])  # fmt: skip
def test_damage_gives_a_sound_or_an_input_error(make):
    assert sum(is_refused(spoilt) for spoilt in damaged(make(), 2, 25)) >= 2


OPTIONS = {"rate_hz": 16000, "bands": 64, "hop_s": 0.01, "longest": 300}


@pytest.mark.parametrize("count", [1, 2, 159, 160, 161, 16000, 47999, 60000, 2_000_00])
def test_patches_hold_between_one_frame_and_longest(count):
    modality = CARRIER.define("voice", "clip", **OPTIONS)
    signal = decoded(np.random.default_rng(0).normal(size=count).astype(np.float32) * 0.1, rate_hz=16000.0)
    made = modality.patches(signal)
    assert made.dtype == np.float32
    assert made.shape == (min(300, -(-count // 160)) if count <= 96000 else len(made), 64)
    assert 150 < len(made) <= 300 or count <= 16000
    assert np.isfinite(made).all()
    if count > 1:
        assert abs(made.mean()) < 1e-3
        assert made.std() == pytest.approx(1, abs=1e-3)


def test_patches_do_not_depend_on_level_offset_or_silence():
    loud = decoded(tone(), rate_hz=16000.0)
    quiet = decoded(tone() * 0.003 + 0.4, rate_hz=16000.0)
    np.testing.assert_allclose(patches(loud, **OPTIONS), patches(quiet, **OPTIONS), atol=0.15)
    for silence in (np.zeros(5000, np.float32), np.full(5000, 0.25, np.float32)):
        np.testing.assert_array_equal(patches(decoded(silence, rate_hz=16000.0), **OPTIONS), 0)


def test_a_clip_that_is_too_long_keeps_its_middle():
    samples = np.zeros(16000 * 5, np.float32)
    samples[40000] = 1
    made = patches(decoded(samples, rate_hz=16000.0), **OPTIONS)
    assert len(made) == 300
    assert abs(int(made.sum(1).argmax()) - 150) <= 1


def test_a_lower_rate_gives_the_same_number_of_frames():
    signal = decoded(tone(), rate_hz=16000.0)
    low = patches(signal, rate_hz=8000, bands=40, hop_s=0.01, longest=300)
    assert low.shape == (100, 40)


def test_survey_chooses_the_hop_by_length():
    def of(*seconds):
        return CARRIER.survey(
            [decoded(np.ones(round(s * 16000), np.float32), rate_hz=16000.0) for s in seconds]
        )

    assert of(0.5, 0.7)["hop_s"] == 0.01
    assert of(2.0, 9.0)["hop_s"] == 0.02
    assert of(30.0)["hop_s"] == 0.04
    assert of(20.0)["longest"] == 550  # a tenth more than the longest usual clip
    assert of(100.0)["longest"] == 800
    assert of(1.0)["longest"] in (110, 111)
    signals = [decoded(tone(), rate_hz=16000.0)]
    learned = CARRIER.survey(signals, bands="80", hop_s="0.005")
    assert learned == {"rate_hz": 16000, "bands": 80, "hop_s": 0.005, "longest": 220}
    assert CARRIER.define("a", "a", **learned).options == learned
    for wrong in ({"bands": "many"}, {"hop_s": "-1"}, {"pitch": "1"}, {"rate_hz": "1"}, {"longest": "0"}):
        with pytest.raises(InputError):
            CARRIER.survey(signals, **wrong)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), strength=st.floats(0, 1), frames=st.integers(1, 120))
def test_augment_keeps_width_length_and_finiteness(seed, strength, frames):
    mel = standardised(np.random.default_rng(seed).normal(size=(frames, 40)).astype(np.float32))
    made = augment(mel, np.random.default_rng(seed), strength, longest=100)
    again = augment(mel, np.random.default_rng(seed), strength, longest=100)
    np.testing.assert_array_equal(made, again)
    assert made.dtype == np.float32
    assert made.shape[1] == 40
    assert np.isfinite(made).all()
    assert len(made) <= max(100, frames if strength == 0 else 0)
    assert 0.88 * frames - 1 <= max(len(made), 0.88 * frames - 1)
    if strength == 0:
        assert len(made) == frames


def test_noise_comes_to_half_of_the_clips_even_without_strength():
    mel = patches(decoded(tone(), rate_hz=16000.0), **OPTIONS)
    same = [np.array_equal(augment(mel, np.random.default_rng(s), 0.0), mel) for s in range(200)]
    assert 70 < sum(same) < 130
    silent = np.zeros_like(mel)
    np.testing.assert_array_equal(augment(silent, np.random.default_rng(0), 0.0), silent)


def test_noise_on_patches_is_what_noise_on_the_wave_would_be():
    """White noise in the wave and in the patches lift the floor by about the same, from -2 to 30 dB."""
    clean = tone(level=0.9)
    mel = patches(decoded(clean, rate_hz=16000.0), **OPTIONS)
    decibels = np.ptp(mel)

    def lift(x):  # how far the median has risen towards the maximum, as a share of the clean range
        return (x.max() - np.median(x)) / decibels

    lifted = [lift(with_noise(mel, np.random.default_rng(s))) for s in range(100)]
    bounds = []
    for ratio in (-2, 30):
        noise = np.random.default_rng(0).normal(size=len(clean)) * np.sqrt(
            (clean**2).mean() * 10 ** (-ratio / 10)
        )
        noisy = log_mel((clean + noise).astype(np.float32), bands=64, hop=160, rate_hz=RATE_HZ)
        bounds.append((noisy.max() - np.median(noisy)) / 80)
    assert bounds[0] - 0.15 < min(lifted) < bounds[0] + 0.15
    assert bounds[1] - 0.15 < max(lifted) < bounds[1] + 0.25
    assert max(lifted) < lift(mel)


def test_speed_and_voice_move_by_little():
    ramp = np.tile(np.linspace(-1, 1, 100, dtype=np.float32)[:, None], (1, 32))
    for seed in range(20):
        made = moved(ramp, np.random.default_rng(seed), 1.0)
        assert 90 <= len(made) <= 112
        np.testing.assert_allclose(made[:, 5], np.linspace(-1, 1, len(made)), atol=1e-5)
    bands = np.tile(np.arange(32, dtype=np.float32), (10, 1))
    shift = [np.abs(moved(bands, np.random.default_rng(s), 1.0)[0] - bands[0]).max() for s in range(20)]
    assert 0 < max(shift) <= 2 + 0.06 * 32


def test_masks_cover_a_part_with_the_mean():
    ones = np.ones((100, 64), np.float32)
    share = [(masked(ones, np.random.default_rng(s), 1.0) == 0).mean() for s in range(100)]
    assert 0.1 < np.mean(share) < 0.35
    assert max(share) < 0.4
    assert (ones == 1).all()


@pytest.mark.parametrize("bands", [8, 40, 64])
def test_statistics_are_fixed_in_length_and_tell_sounds_apart(bands):
    made = [
        statistics(patches(decoded(tone(s, hz), rate_hz=16000.0), **{**OPTIONS, "bands": bands}))
        for s, hz in ((0.001, 300), (0.5, 300), (0.5, 3000))
    ]
    assert {m.shape for m in made} == {(7 * bands + 64 + 2,)}
    assert all(m.dtype == np.float32 and np.isfinite(m).all() for m in made)
    assert made[2][-1] > made[1][-1] + 0.1  # the centroid rises with the pitch
    assert made[1][-2] > made[0][-2]  # the duration


def test_preview_can_be_played_and_drawn():
    shown = CARRIER.preview(decoded(np.tile(tone(), 10), rate_hz=16000.0))
    with wave.open(io.BytesIO(base64.b64decode(shown["wav"]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 48000)
    assert len(shown["lines"][0]) == 200
    assert max(shown["lines"][0]) == 1
    assert CARRIER.preview(decoded(np.zeros(1, np.float32), rate_hz=16000.0))["lines"] == [[0.0]]


@pytest.mark.parametrize("samples", [
    [1.0, np.inf], [np.inf, -np.inf], [1e300, -2e299], np.array([3e38, 3e38, -3e38, 0], np.float32),
])  # fmt: skip
def test_numbers_beyond_float32_are_refused_without_a_warning(samples):
    for array in (np.tile(samples, 500), np.tile(samples, (500, 1))):
        with pytest.raises(InputError, match="sound"):
            decoded(array, rate_hz=8000.0)


@pytest.mark.parametrize("span", [(float("nan"), 1.0), (0.0, float("nan"))])
def test_a_span_that_is_no_number_is_refused(span):
    for content, rate in ((packed(tone()), None), (tone(), 16000.0)):
        with pytest.raises(InputError, match="span"):
            decoded(content, span_s=span, rate_hz=rate)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(InputError):
        decoded(tone(), rate_hz=rate)


def test_the_preview_has_16_bits():
    with wave.open(io.BytesIO(base64.b64decode(CARRIER.preview(decoded(packed(tone())))["wav"]))) as file:
        assert (file.getsampwidth(), file.getnchannels(), file.getframerate()) == (2, 1, 8000)
        assert np.abs(np.frombuffer(file.readframes(8000), "<i2").astype(int)).max() > 30000
