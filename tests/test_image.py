"""Pictures: formats and modes against the bare library, limits, damage, patches, augmentation."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sensorium.modalities.grid import channelled, colourless, gradients, resized, sniffed
from sensorium.modalities.image import CARRIER, KEPT, augment, covered, statistics
from sensorium.types import InputError, Limits, Media

LIMITS = Limits(pixels=1_000_000)


def scene(height=60, width=80, *, seed=0):
    """A smooth coloured picture, different in each corner."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = [200 * x + 30, 180 * y + 40, 120 * (x * y) + 20 * np.sin(9 * x + seed)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def packed(picture, form, **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def decoded(content, limits=LIMITS, name="x.png"):
    return CARRIER.decode(Media(content=content, name=name), limits).values


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_each_format_equals_the_bare_library(form):
    content = packed(Image.fromarray(scene()), form)
    bare = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decoded(content, name="wrong.txt"), bare)
    assert np.abs(bare.astype(int) - scene()).mean() < 12  # the test's own file shows the scene


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("P", 3), ("CMYK", 3), ("RGB", 3), ("LA", 1)]
)
def test_modes_become_grey_or_colour(mode, channels):
    form = {"CMYK": "JPEG"}.get(mode, "PNG")
    found = decoded(packed(Image.fromarray(scene()).convert(mode), form))
    assert found.shape == (60, 80, channels)
    assert found.dtype == np.uint8
    if mode != "1":
        plain = Image.fromarray(scene()).convert("L" if channels == 1 else "RGB")
        assert np.abs(found.squeeze().astype(int) - np.asarray(plain)).mean() < 20


def test_transparency_is_shown_on_white():
    rgba = np.dstack([scene(), np.full((60, 80), 255, np.uint8)])
    rgba[:30, :, 3] = 0
    rgba[30:40, :, 3] = 128
    found = decoded(packed(Image.fromarray(rgba), "PNG")).astype(int)
    assert (found[:30] == 255).all()
    assert np.abs(found[30:40] - (scene()[30:40].astype(int) + 255) / 2).max() <= 2
    np.testing.assert_array_equal(found[40:], scene()[40:])
    np.testing.assert_array_equal(decoded(rgba)[:30], 255)


def test_palette_transparency_is_shown_on_white():
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((0, 0), 1)
    found = decoded(packed(picture, "PNG", transparency=0))
    assert found[0, 0].tolist() == [200, 100, 50]
    assert found[3, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_is_scaled_to_8(form):
    deep = (scene()[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    found = decoded(packed(Image.fromarray(deep), form))
    np.testing.assert_array_equal(found[..., 0], scene()[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_equals_the_bare_library(orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    content = packed(Image.fromarray(scene()), form, exif=exif)
    bare = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    np.testing.assert_array_equal(decoded(content), bare)


def test_the_first_frame_of_an_animation_is_read():
    frames = [Image.fromarray(scene(seed=s)) for s in range(3)]
    content = packed(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(
        decoded(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    )


def test_a_large_jpeg_is_decoded_small_but_not_below_what_patches_need():
    big = Image.fromarray(scene(60, 80)).resize((1600, 1200))
    found = decoded(packed(big, "JPEG"), Limits())
    assert KEPT <= min(found.shape[:2]) < 2 * KEPT
    whole = np.asarray(big.resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(resized(found, 64, 64).astype(int) - whole).mean() < 3


def test_arrays_from_python_in_every_usual_type():
    pixels = scene()
    same = [
        pixels,
        pixels.astype(np.int64),
        pixels.astype(np.uint16) * 257,
        pixels / 255,
        pixels.astype(np.float32),
    ]
    for array in same:
        np.testing.assert_array_equal(decoded(array), pixels)
    assert decoded(pixels[..., 0]).shape == (60, 80, 1)
    np.testing.assert_array_equal(decoded(pixels[..., 0] > 99)[..., 0], np.where(pixels[..., 0] > 99, 255, 0))
    np.testing.assert_array_equal(decoded(Image.fromarray(pixels)), pixels)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4, 5)), np.zeros((0, 4)), np.zeros(3), np.full((4, 4), np.nan), np.full((4, 4), -7),
        np.full((4, 4), 300), np.array([["a"]]), np.zeros((2000, 2000)),
    ],
)  # fmt: skip
def test_arrays_that_are_no_picture_are_refused(array):
    with pytest.raises(InputError):
        decoded(array)


def bomb(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def test_a_bomb_is_refused_from_its_header():
    with pytest.raises(InputError, match="limit pixels=2500000000"):
        decoded(bomb(50000, 50000))
    with pytest.raises(InputError, match="pixels"):
        decoded(packed(Image.fromarray(scene()), "JPEG"), Limits(pixels=4799))
    assert decoded(packed(Image.fromarray(scene()), "JPEG"), Limits(pixels=4800)).shape == (60, 80, 3)


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"hello, this is text", b"RIFF\0\0\0\0WAVEfmt ", "a string", None, 7]
)
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(InputError, match="not a readable picture"):
        decoded(content)


def damaged(content, seed, count):
    """Cut at every tenth, then flip bits: half of the flips in the first 200 bytes."""
    rng = np.random.default_rng(seed)
    yield from (content[: len(content) * tenth // 10] for tenth in range(10))
    for i in range(count):
        spoilt = bytearray(content)
        for at in rng.integers(0, min(200, len(content)) if i % 2 else len(content), rng.integers(1, 6)):
            spoilt[at] ^= 1 << rng.integers(0, 8)
        yield bytes(spoilt)


def is_refused(content):
    try:
        pixels = decoded(content)
    except InputError:
        return True
    assert pixels.dtype == np.uint8
    return False


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_damage_gives_a_picture_or_an_input_error(form):
    content = packed(Image.fromarray(scene()), form)
    assert sum(is_refused(spoilt) for spoilt in damaged(content, 1, 30)) >= 9


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_a_picture_that_is_cut_off_is_refused(form):
    content = packed(Image.fromarray(scene()), form)
    with pytest.raises(InputError):
        decoded(content[: len(content) * 6 // 10])


def test_survey_learns_grey_and_takes_what_is_given():
    grey = CARRIER.decode(Media(content=np.full((9, 9, 3), 77, np.uint8)), LIMITS)
    colour = CARRIER.decode(Media(content=scene()), LIMITS)
    large = CARRIER.decode(Media(content=np.zeros((300, 200), np.uint8)), LIMITS)
    assert CARRIER.survey([large]) == {"side": 64, "channels": 1}
    assert CARRIER.survey([large, colour]) == {"side": 64, "channels": 3}
    assert CARRIER.survey([grey]) == {"side": 16, "channels": 1}  # small pictures are not blown up
    assert CARRIER.survey([colour], side="96", channels="1") == {"side": 96, "channels": 1}
    for wrong in ({"side": "big"}, {"side": "0"}, {"channels": "2"}, {"colour": "1"}, {"side": "9e9"}):
        with pytest.raises(InputError):
            CARRIER.survey([colour], **wrong)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 1), (300, 7, 3), (64, 64, 3), (65, 63, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_patches_have_the_promised_shape(shape, channels):
    modality = CARRIER.define("photo", "photo", side=64, channels=channels)
    made = modality.patches(CARRIER.decode(Media(content=np.full(shape, 90, np.uint8)), LIMITS))
    assert made.shape == (64, *modality.item) == (64, 64, channels)
    assert modality.longest == 64
    assert modality.step_s == 0
    np.testing.assert_array_equal(made, 90)


def test_patches_are_antialiased_and_whole():
    stripes = np.zeros((512, 512, 1), np.uint8)
    stripes[:, ::2] = 255
    made = resized(stripes, 32, 32)
    assert np.abs(made.astype(int) - 127).max() < 12  # point sampling would give 0 or 255
    made = resized(scene(240, 320), 64, 64).astype(int)
    assert np.abs(made - resized(scene(64, 64), 64, 64)).mean() < 3


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), strength=st.floats(0, 1), channels=st.sampled_from([1, 3]))
def test_augment_keeps_shape_and_is_a_function_of_its_seed(seed, strength, channels):
    pixels = channelled(scene(48, 48), channels)
    first = augment(pixels, np.random.default_rng(seed), strength)
    assert first.shape == pixels.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, augment(pixels, np.random.default_rng(seed), strength))
    np.testing.assert_array_equal(augment(pixels, np.random.default_rng(seed), 0.0), pixels)


def test_augment_is_small_never_mirrors_and_grows_with_strength():
    pixels = resized(scene(), 64, 64)
    mean = [
        np.mean(
            [
                np.abs(augment(pixels, np.random.default_rng(s), k).astype(int) - pixels).mean()
                for s in range(20)
            ]
        )
        for k in (0.1, 0.5, 1.0)
    ]
    assert 0 < mean[0] < mean[1] < mean[2] < 60
    left, right = slice(8, 24), slice(40, 56)
    for seed in range(50):  # the scene is darker on the left
        made = augment(pixels, np.random.default_rng(seed), 1.0)[16:48, :, 0].astype(int)
        assert made[:, left].mean() < made[:, right].mean()


def test_covering_hides_a_part_only():
    pixels = resized(scene(), 64, 64)
    share = [(covered(pixels, np.random.default_rng(s)) != pixels).any(-1).mean() for s in range(30)]
    assert 0.005 < min(share)
    assert max(share) < 0.15


def test_statistics_tell_pictures_apart_and_are_fixed_in_length():
    vectors = [statistics(resized(scene(seed=s), side, side)) for s in (0, 3) for side in (8, 64)]
    assert {v.shape for v in vectors} == {(256 + 24 + 6 + 288,)}
    assert vectors[0].dtype == np.float32
    assert np.abs(vectors[1] - vectors[3]).max() > 0.05


def test_gradients_see_the_direction_of_stripes():
    across = np.tile((np.arange(32) // 4 % 2).astype(np.float32), (32, 1))
    found = gradients(across, 2, 8).reshape(4, 8)
    assert (found.argmax(1) == 0).all()
    assert (gradients(across.T.copy(), 2, 8).reshape(4, 8).argmax(1) == 4).all()


def test_preview_is_a_small_png():
    import base64

    shown = CARRIER.preview(CARRIER.decode(Media(content=scene(600, 800)), LIMITS))
    picture = Image.open(io.BytesIO(base64.b64decode(shown["png"])))
    assert picture.format == "PNG"
    assert picture.size == (160, 120)


def test_sniffing_and_greyness():
    assert sniffed(b"RIFF\0\0\0\0WEBPVP8 ") == "webp"
    assert sniffed(b"\xff\xfb\x90\x00") == "mp3"
    assert sniffed(b"#EXTM3U\nhttp://example.org/x.ts") == ""
    assert colourless(np.full((4, 4, 3), 9, np.uint8))
    assert not colourless(scene())


def test_a_picture_handed_over_is_not_changed():
    content = packed(Image.fromarray(scene(60, 80)).resize((1600, 1200)), "JPEG")
    with Image.open(io.BytesIO(content)) as picture:
        found = decoded(picture, Limits())
        assert picture.size == (1600, 1200)
    assert found.shape == (1200, 1600, 3)
