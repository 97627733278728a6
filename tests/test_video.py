"""Clips: containers against the bare library, spans, key frames, limits, damage, patches, augmentation."""

import base64
import io
import itertools
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium.modalities.video import CARRIER, KEPT, _plan, augment, evenly, patches, statistics
from sensorium.types import InputError, Limits, Media, Signal

LIMITS = Limits(pixels=1_000_000, frames=2000)


def frame_of(i, *, count=30, height=48, width=64, grey=False):
    """Brightness tells the frame's number; a red bar moves from left to right."""
    pixels = np.full((height, width, 3), 20 + round(200 * i / count), np.uint8)
    if not grey:
        at = round((width - 12) * i / count)
        pixels[height // 4 : height // 2, at : at + 12] = (220, 30, 30)
    return pixels


def clip(form="mp4", codec="mpeg4", *, count=30, rate=10, size=(48, 64), grey=False, gop=12, turn=0):
    """A small clip of `count` frames in any container."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt, stream.gop_size = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p"), gop
        if turn:
            stream.set_display_rotation(turn)
        for i in range(count):
            pixels = frame_of(i, count=count, height=size[0], width=size[1], grey=grey)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return out.getvalue()


def bare(content):
    """All frames and their seconds by the bare library."""
    with av.open(io.BytesIO(content)) as container:
        found = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    return np.array([t for t, _ in found]), np.stack([p for _, p in found])


def decoded(content, *, limits=LIMITS, **media):
    return CARRIER.decode(Media(content=content, name="x.mp4", **media), limits)


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp4", "libx264"), ("mp4", "mpeg4"), ("matroska", "libx264"),
        ("webm", "libvpx"), ("webm", "libvpx-vp9"), ("mov", "mpeg4"),
        ("avi", "mpeg4"), ("avi", "mjpeg"), ("gif", "gif"),
    ],
)  # fmt: skip
def test_each_container_equals_the_bare_library(form, codec):
    content = clip(form, codec)
    times, pixels = bare(content)
    signal = decoded(content)
    assert signal.values.shape == pixels.shape == (30, 48, 64, 3)
    assert np.abs(signal.values.astype(int) - pixels).mean() < 2
    np.testing.assert_allclose(signal.times_s, times - times[0], atol=1e-6)
    levels = signal.values[:, 40:].mean((1, 2, 3))
    assert (np.diff(levels) > 0).all()  # the order of time


def test_a_long_clip_is_sampled_evenly_to_both_ends():
    content = clip(count=200, rate=25, gop=50)
    signal = decoded(content)
    assert len(signal.values) == KEPT
    assert signal.times_s[0] == 0
    assert signal.times_s[-1] == pytest.approx(199 / 25)
    assert np.diff(signal.times_s).min() > 0.07
    assert np.diff(signal.times_s).max() < 0.17
    _, pixels = bare(content)
    index = (signal.times_s * 25).round().astype(int)
    assert np.abs(signal.values.astype(int) - pixels[index]).mean() < 2


def test_a_very_long_clip_is_read_from_key_frames_alone():
    content = clip(count=700, rate=25, gop=5, size=(16, 16))
    signal = decoded(content)
    assert len(signal.values) == KEPT
    index = (signal.times_s * 25).round().astype(int)
    with av.open(io.BytesIO(content)) as container:
        keys = [
            round(float(p.pts * p.time_base) * 25)
            for p in container.demux(video=0)
            if p.size and p.is_keyframe
        ]
    assert set(index) < set(keys)
    assert index[-1] == keys[-1]
    _, pixels = bare(content)
    assert np.abs(signal.values.astype(int) - pixels[index][..., : signal.values.shape[-1]]).mean() < 8


def test_key_frames_of_a_gif_are_not_trusted():
    packets = [SimpleNamespace(pts=i, dts=i, time_base=0.1, is_keyframe=True) for i in range(1000)]
    span = (-1.0, 1e9)
    assert len(_plan(packets, span, format="mp4")[0]) == KEPT
    chosen, wanted = _plan(packets, span, format="gif")
    assert len(chosen) == 1000
    assert wanted == evenly(1000, KEPT)


@pytest.mark.parametrize("form", ["mp4", "matroska", "avi"])
def test_a_span_holds_the_frames_of_that_time(form):
    content = clip(form, count=60, rate=10)
    _, pixels = bare(content)
    signal = decoded(content, span_s=(3.0, 4.5))
    assert signal.values.shape[0] == 15
    np.testing.assert_allclose(signal.times_s, np.arange(15) / 10, atol=1e-6)
    assert np.abs(signal.values.astype(int) - pixels[30:45]).mean() < 2
    assert len(decoded(content, span_s=(5.0, float("inf"))).values) == 10
    for span in [(100.0, 101.0), (4.0, 3.0), (-3.0, -1.0)]:
        with pytest.raises(InputError):
            decoded(content, span_s=span)


def test_large_frames_are_decoded_small():
    signal = decoded(clip(count=3, size=(240, 400)))
    assert signal.values.shape == (3, 128, 213, 3)
    assert decoded(clip(count=2, size=(16, 2400))).values.shape[2] == 1024


def test_grey_clips_have_one_channel():
    signal = decoded(clip(grey=True))
    assert signal.values.shape == (30, 48, 64, 1)
    assert signal.values.flags.c_contiguous
    assert abs(int(signal.values[0, 0, 0, 0]) - 20) < 4


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_clip_filmed_sideways_is_turned_upright(turn):
    plain, turned = decoded(clip()), decoded(clip(turn=turn))
    np.testing.assert_array_equal(turned.values, np.rot90(plain.values, turn // 90, axes=(1, 2)))


def test_one_frame_is_a_clip():
    signal = decoded(clip(count=1))
    assert signal.values.shape[0] == 1
    modality = CARRIER.define("v", "v", **CARRIER.survey([signal]))
    made = modality.patches(signal)
    assert made.shape == (1, *modality.item)
    assert np.isfinite(modality.statistics(made)).all()
    assert modality.augment(made, np.random.default_rng(0), 1.0).shape == made.shape
    assert "png" in CARRIER.preview(signal)


def test_arrays_from_python():
    frames = np.stack([frame_of(i) for i in range(30)])
    signal = decoded(frames, rate_hz=10.0)
    np.testing.assert_array_equal(signal.values, frames)
    np.testing.assert_allclose(signal.times_s, np.arange(30) / 10)
    np.testing.assert_array_equal(decoded(frames / 255.0, rate_hz=10.0).values, frames)
    part = decoded(frames, rate_hz=10.0, span_s=(1.0, 2.0))
    np.testing.assert_array_equal(part.values, frames[10:20])
    assert part.times_s[0] == 0
    assert decoded(frames[..., 0]).values.shape == (30, 48, 64, 1)
    assert decoded(np.zeros((500, 200, 300), np.uint8)).values.shape == (KEPT, 128, 192, 1)
    for wrong in (np.zeros((0, 4, 4)), np.zeros(7), np.full((2, 4, 4), np.nan), np.zeros((2, 4, 4, 9))):
        with pytest.raises(InputError):
            decoded(wrong, rate_hz=10.0)
    with pytest.raises(InputError, match="rate"):
        decoded(frames, span_s=(0.0, 1.0))


def test_limits_hold():
    content = clip()
    with pytest.raises(InputError, match="--limit frames="):
        decoded(content, limits=Limits(frames=29))
    with pytest.raises(InputError, match="--limit pixels=3072"):
        decoded(content, limits=Limits(pixels=3071))
    assert decoded(content, limits=Limits(frames=30, pixels=3072)) is not None
    with pytest.raises(InputError, match="pixels"):
        decoded(clip("gif", "gif"), limits=Limits(pixels=3071))
    with pytest.raises(InputError, match="frames"):
        decoded(np.zeros((30, 4, 4)), limits=Limits(frames=29))


def song(*, cover=False):
    """Sound, with a picture of its cover if asked for."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        sound.rate = 16000
        parts = [(stream, sound)]
        if cover:
            picture = container.add_stream("png", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
            parts.append((picture, av.VideoFrame.from_ndarray(frame_of(3), format="rgb24")))
        for stream, frame in parts:
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_is_no_video(cover):
    with pytest.raises(InputError, match="no moving pictures"):
        decoded(song(cover=cover))


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\0\x18ftyp", b"some text", b"#EXTM3U\nhttp://example.org/a.ts\n", "clip.mp4", None]
)
def test_what_is_no_video_is_refused(content):
    with pytest.raises(InputError, match="not a readable video"):
        decoded(content)


def test_damage_in_the_middle_keeps_the_frames_before():
    content = clip("matroska", "libx264", count=60, gop=10)
    whole = decoded(content).values
    half = decoded(content[: len(content) // 2]).values
    assert 5 < len(half) < 60
    np.testing.assert_array_equal(half[:5], whole[:5])
    with pytest.raises(InputError):  # an MP4 has its table of contents at the end
        decoded(clip()[:-2000])


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
    assert len(signal.values) == len(signal.times_s) >= 1
    assert (np.diff(signal.times_s) >= 0).all()
    return False


@pytest.mark.parametrize("form", ["mp4", "matroska", "avi", "gif"])
def test_damage_gives_a_clip_or_an_input_error(form):
    content = clip(form, "gif" if form == "gif" else "mpeg4", count=12)
    assert sum(is_refused(spoilt) for spoilt in damaged(content, 3, 25)) >= 1


def test_survey_learns_frames_step_and_channels():
    colour, grey = decoded(clip()), decoded(clip(grey=True, count=5))
    assert CARRIER.survey([colour, colour]) == {
        "side": 48,
        "frames": 16,
        "channels": 3,
        "step_s": round(2.9 / 15, 4),
    }
    assert CARRIER.survey([grey]) == {"side": 48, "frames": 5, "channels": 1, "step_s": 0.1}
    given_ = CARRIER.survey([colour], frames="30", side="64", channels="1", step_s="0.5")
    assert given_ == {"side": 64, "frames": 30, "channels": 1, "step_s": 0.5}
    for wrong in ({"frames": "0"}, {"frames": "65"}, {"side": "x"}, {"fps": "3"}, {"channels": "4"}):
        with pytest.raises(InputError):
            CARRIER.survey([colour], **wrong)


def test_patches_are_even_in_time_where_frames_are_not():
    times = np.concatenate([np.linspace(0, 1, 40), np.linspace(1.1, 9, 9)])
    values = np.broadcast_to((times * 20).astype(np.uint8)[:, None, None, None], (49, 8, 8, 1)).copy()
    made = patches(Signal(values=values, times_s=times), side=8, frames=10, channels=1)
    assert made.shape == (10, 8, 8, 1)
    assert np.abs(made[:, 0, 0, 0] / 20 - np.linspace(0, 9, 10)).max() < 0.6


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_patches_hold_at_most_the_frames_promised(count, channels):
    modality = CARRIER.define("v", "v", side=16, frames=16, channels=channels, step_s=0.1)
    signal = decoded(np.stack([frame_of(i, count=count) for i in range(count)]), rate_hz=10.0)
    made = modality.patches(signal)
    assert made.shape == (min(count, 16), *modality.item)
    assert made.dtype == np.uint8
    assert modality.longest == 16
    assert (np.diff(made[:, 12:].mean((1, 2, 3))) > 0).all()


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), strength=st.floats(0, 1), count=st.integers(1, 16))
def test_augment_keeps_the_shape(seed, strength, count):
    made = np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
    first = augment(made, np.random.default_rng(seed), strength)
    assert first.shape == made.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, augment(made, np.random.default_rng(seed), strength))
    if strength == 0:
        np.testing.assert_array_equal(first, made)


def test_augment_changes_all_frames_alike_and_keeps_the_order():
    still = np.repeat(frame_of(10)[None, :48, :48], 8, axis=0)
    for seed in range(10):
        made = augment(still, np.random.default_rng(seed), 1.0)
        np.testing.assert_array_equal(made, np.repeat(made[:1], 8, axis=0))
    rising = np.stack([frame_of(i, grey=True)[:24, :24] for i in range(0, 30, 2)])
    for seed in range(10):
        levels = augment(rising, np.random.default_rng(seed), 1.0).mean((1, 2, 3))
        assert (np.diff(levels) >= -0.5).all()
        assert levels[-1] - levels[0] > 60


def test_statistics_see_motion():
    still = np.repeat(frame_of(10)[None, :48, :48], 16, axis=0)
    late = still.copy()
    late[12:, :24] = 255 - late[12:, :24]
    a, b, short = statistics(still), statistics(late), statistics(still[:1])
    assert a.shape == b.shape == short.shape == (3 * 64 + 2 * 64 + 8 + 1,)
    assert a.dtype == np.float32
    course = b[-9:-1]
    assert course.argmax() == 6  # the change after frame 11 of 0..15
    assert a[-9:-1].max() == 0
    motion = b[-73:-9].reshape(8, 8)
    assert motion[:3].mean() > 10 * motion[5:].mean()


def test_preview_is_a_sheet_of_frames():
    picture = Image.open(io.BytesIO(base64.b64decode(CARRIER.preview(decoded(clip()))["png"])))
    assert picture.size == (8 * 64, 48)
    sheet = np.asarray(picture).reshape(48, 8, 64, 3)
    assert (np.diff(sheet[36:].mean((0, 2, 3))) > 0).all()


def test_key_frames_that_come_in_bursts_do_not_decide_what_is_kept():
    packets = [
        SimpleNamespace(pts=i, dts=i, time_base=0.1, is_keyframe=i < 80 or i % 300 == 0) for i in range(600)
    ]
    chosen, ranks = _plan(packets, (-1.0, 1e9), format="mp4")
    assert chosen == packets
    assert ranks == evenly(600, KEPT)
    for packet in packets:
        packet.is_keyframe = packet.pts % 7 == 0
    chosen, _ = _plan(packets, (-1.0, 1e9), format="mp4")
    assert len(chosen) == KEPT
    assert max(b.pts - a.pts for a, b in itertools.pairwise(chosen)) <= 14


@pytest.mark.parametrize("span", [(50.0, 51.0), (-3.0, -1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_a_span_without_frames_is_refused(span):
    with pytest.raises(InputError):
        decoded(clip(), span_s=span)
    with pytest.raises(InputError):
        decoded(np.zeros((30, 8, 8), np.uint8), span_s=span, rate_hz=10.0)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(InputError, match="not a readable video"):
        decoded(np.zeros((4, 8, 8), np.uint8), rate_hz=rate)


@pytest.mark.parametrize(
    "array", [np.array(3.0), np.zeros((3, 4)), np.full((3, 4, 4), 1e300), np.full((3, 4, 4), None)]
)
def test_arrays_that_are_no_clip_are_refused(array):
    with pytest.raises(InputError):
        decoded(array, rate_hz=10.0)


def test_limits_count_the_frames_of_the_span_alone():
    assert len(decoded(clip(), limits=Limits(frames=10), span_s=(1.0, 2.0)).values) == 10
