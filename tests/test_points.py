"""Points: every format, frames and plain clouds, patches, and files that are damaged."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from sensorium.modalities import CARRIERS, carrier_of
from sensorium.modalities.clouds import looks_like_points
from sensorium.types import InputError, Limits, Media, Modality, Signal

POINTS = CARRIERS["points"]
CLOUD = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32).round(3)
PLY = "ply\nformat {} 1.0\ncomment made by a test\nelement vertex 300\n"
PLY += "property float x\nproperty float y\nproperty float z\nproperty float intensity\n"
PLY += "element face 0\nproperty list uchar int vertex_indices\nend_header\n"
PCD = "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
PCD += "WIDTH 300\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 300\nDATA {}\n"


def read(content: object, name: str = "", **more: object) -> Signal:
    signal = POINTS.decode(Media(content=content, name=name, **more), Limits())
    assert signal is not None
    return signal


def lines(values: np.ndarray, mark: str = " ") -> str:
    return "\n".join(mark.join(map(str, row)) for row in values.tolist()) + "\n"


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def frames(count: int = 40, seed: int = 0) -> np.ndarray:
    """Rows of frame, t, x, y, z, velocity: some points a frame, drifting."""
    rng = np.random.default_rng(seed)
    rows = []
    for frame in range(count):
        size = int(rng.integers(3, 9))
        rows += [[frame, frame / 20, *rng.normal(frame / count, 1, 3), rng.normal()] for _ in range(size)]
    return np.array(rows)


TABLE = ("frame,t,x,y,z,velocity\n" + lines(frames(), ",")).encode()
FILES = {
    "a.ply": PLY.format("ascii").encode() + lines(CLOUD).encode(),
    "b.ply": PLY.format("binary_little_endian").encode() + CLOUD.astype("<f4").tobytes(),
    "c.ply": PLY.format("binary_big_endian").encode() + CLOUD.astype(">f4").tobytes(),
    "a.pcd": PCD.format("ascii").encode() + lines(CLOUD).encode(),
    "b.pcd": PCD.format("binary").encode() + CLOUD.tobytes(),
    "a.bin": CLOUD.tobytes(),
    "a.npy": saved(CLOUD),
    "a.csv": ("x,y,z,intensity\n" + lines(CLOUD, ",")).encode(),
    "a.csv.gz": gzip.compress(("x,y,z,intensity\n" + lines(CLOUD, ",")).encode()),
    "a.xyz": lines(CLOUD).encode(),
}


def learned(*signals: Signal, **given: object) -> Modality:
    options = json.loads(json.dumps(POINTS.survey(list(signals), **given)))
    return POINTS.define("p", "p", **options)


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_points(name: str):
    signal = read(FILES[name], name)
    assert np.allclose(signal.values, CLOUD, atol=1e-5)
    assert signal.channels[:3] == ("x", "y", "z")
    assert signal.times_s is None


@pytest.mark.parametrize("name", ["a.las", "a.laz"])
def test_airborne_lidar(name: str, tmp_path: Path):
    laspy = pytest.importorskip("laspy")
    if name == "a.laz":
        pytest.importorskip("lazrs")
    file = laspy.create()
    file.header.scales = [0.001] * 3
    file.x, file.y, file.z = CLOUD[:, 0], CLOUD[:, 1], CLOUD[:, 2]
    file.intensity = np.arange(300)
    file.write(str(tmp_path / name))
    content = (tmp_path / name).read_bytes()
    signal = read(content, name)
    assert np.allclose(signal.values[:, :3], CLOUD[:, :3], atol=1e-3)
    assert signal.channels == ("x", "y", "z", "intensity")
    check_damage(content, name)
    with pytest.raises(InputError):  # four billion headers before the points
        read(content[:100] + b"\xff\xff\xff\xff" + content[104:], name)
    if name == "a.laz":  # two billion packed chunks; lazrs itself would end the process
        start = int.from_bytes(content[96:100], "little")
        table = int.from_bytes(content[start : start + 8], "little")
        with pytest.raises(InputError):
            read(content[: table + 4] + b"\xff\xff\xff\x7f" + content[table + 8 :], name)


def test_five_numbers_a_point_are_told_by_the_ring():
    ringed = np.column_stack([CLOUD, np.arange(300) % 32]).astype(np.float32)
    assert read(ringed.tobytes(), "a.bin").values.shape == (300, 5)


def test_frames_have_times_and_leave_the_columns():
    signal = read(TABLE, "a.csv")
    assert signal.channels == ("x", "y", "z", "velocity")
    assert len(np.unique(signal.times_s)) == 40
    assert signal.times_s.max() == pytest.approx(39 / 20)
    numbered = "\n".join(
        r.partition(",")[0] + "," + r.split(",", 2)[2] for r in TABLE.decode().split("\n") if r
    )
    assert read(numbered.encode(), "a.csv").times_s.max() == pytest.approx(3.9)


def test_points_of_one_frame_share_its_time():
    signal = read(b"frame,t,x,y,z\n0,0.00,1,2,3\n0,0.01,1,2,3\n1,0.10,1,2,3\n1,0.11,1,2,3\n", "a.csv")
    assert np.allclose(signal.times_s, [0, 0, 0.1, 0.1])


def test_an_array_of_three_axes_is_frames():
    for content, name in ((CLOUD.reshape(10, 30, 4), ""), (saved(CLOUD.reshape(10, 30, 4)), "a.npy")):
        signal = read(content, name)
        assert signal.values.shape == (300, 4)
        assert len(np.unique(signal.times_s)) == 10


def test_points_without_a_place_are_left_out():
    broken = CLOUD.copy()
    broken[5, 0], broken[6, 2], broken[7, 3] = np.nan, np.inf, np.nan
    signal = read(broken)
    assert len(signal.values) == 298
    assert np.isfinite(signal.values).all()


def test_padding_and_fields_of_several_numbers():
    head = (
        PCD.replace("z intensity", "z _ normal")
        .replace("4 4 4 4", "4 4 4 1 4")
        .replace("F F F F", "F F F U F")
    )
    head = head.replace("1 1 1 1", "1 1 1 4 2").format("binary")
    kind = np.dtype([("p", "<f4", 3), ("pad", "u1", 4), ("n", "<f4", 2)])
    body = np.zeros(300, kind)
    body["p"], body["n"] = CLOUD[:, :3], CLOUD[:, 2:]
    signal = read(head.encode() + body.tobytes(), "a.pcd")
    assert signal.channels == ("x", "y", "z", "normal_0", "normal_1")
    assert np.allclose(signal.values[:, 3:], CLOUD[:, 2:])


@pytest.mark.parametrize(
    ("header", "rows", "answer"),
    [
        (["x", "y", "z"], [], True),
        (["t", "a", "b"], [], False),
        (["t", "x", "y", "z"], [["0.1", "1", "1", "1"], ["0.2", "1", "1", "1"]], False),
        (["t", "x", "y", "z"], [["0.1", "1", "1", "1"]] * 4, True),
    ],
)
def test_a_table_is_told_from_a_series(header: list[str], rows: list[list[str]], answer: bool):
    assert looks_like_points(header, rows) is answer


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "a.ply"),
        (b"ply\nformat ascii 1.0\nend_header\n", "a.ply"),
        (b"not", "a.ply"),
        (b"x", "a.pcd"),
        (b"abc", "a.bin"),
        (FILES["b.ply"][:-1], "a.ply"),
        (FILES["a.ply"][:2000], "a.ply"),
        (FILES["b.pcd"][:-1], "a.pcd"),
        (b"x,y,z\n", "a.csv"),
        (FILES["a.bin"], "a.las"),
        (FILES["b.ply"].replace(b"300", "30¹".encode("latin-1")), "a.ply"),
        (saved(np.zeros((0, 3))), "a.npy"),
        (saved(np.full((4, 3), np.nan)), "a.npy"),
        (saved(np.zeros(4)), "a.npy"),
        (b"x,y,z\n1,2,up\n", "a.csv"),
    ],
)
def test_what_holds_no_points_is_refused(content: bytes, name: str):
    with pytest.raises(InputError):
        read(content, name)


def check_damage(content: bytes, name: str) -> None:
    """Truncate and flip bits: what comes out is finite points or an InputError, and some is refused."""
    rng, refused = np.random.default_rng(0), 0
    damaged = [content[:n] for n in np.linspace(0, len(content) - 1, 20).astype(int)]
    for _ in range(60):
        broken = bytearray(content)
        broken[rng.integers(0, min(len(broken), 600))] ^= 1 << int(rng.integers(0, 8))
        damaged.append(bytes(broken))
    for broken in damaged:
        try:
            signal = POINTS.decode(Media(content=broken, name=name), Limits(numbers=1_000_000))
            assert np.isfinite(signal.values).all()
            assert np.isfinite(learned(signal).patches(signal)).all()
        except InputError:
            refused += 1
    assert refused > 2


@pytest.mark.parametrize("name", FILES)
def test_damage_gives_an_input_error_and_nothing_else(name: str):
    check_damage(FILES[name], name)


def test_too_many_points_are_refused():
    with pytest.raises(InputError, match="limit"):
        POINTS.decode(Media(content=CLOUD, name="a"), Limits(numbers=100))


def test_a_plain_cloud_is_centred_scaled_and_in_no_order():
    modality = learned(read(CLOUD))
    patches = modality.patches(read(CLOUD))
    assert (patches.shape, patches.dtype) == ((300, *modality.item), np.float32)
    assert modality.step_s == 0
    moved = CLOUD + np.array([1000, -50, 3, 0], np.float32)
    assert np.allclose(modality.patches(read(moved)), patches, atol=1e-3)
    many = read(np.random.default_rng(1).normal(size=(5000, 4)))
    assert len(modality.patches(many)) <= modality.longest
    assert np.array_equal(modality.patches(many), modality.patches(many))


def test_frames_become_a_short_series():
    signal = read(TABLE, "a.csv")
    modality = learned(signal)
    patches = modality.patches(signal)
    assert patches.shape == (40, *modality.item)
    assert modality.step_s == pytest.approx(0.05)
    long = np.repeat(frames(3000), 1, axis=0)
    signal = read(("frame,t,x,y,z,velocity\n" + lines(long, ",")).encode(), "a.csv")
    assert len(learned(signal).patches(signal)) <= 1024


def test_a_frame_shows_where_its_points_lie():
    low, high = frames(40), frames(40)
    high[:, 2] += 3
    signals = [read(("frame,t,x,y,z,velocity\n" + lines(f, ",")).encode(), "a.csv") for f in (low, high)]
    modality = learned(*signals)
    one, two = (modality.patches(s).mean(0) for s in signals)
    assert np.abs(one - two)[:16].max() > 0.2
    assert np.abs(one - two)[16:32].max() < 0.1


@pytest.mark.parametrize("content", [CLOUD, TABLE], ids=["plain", "framed"])
def test_augmentation_and_statistics(content: object):
    signal = read(content, "a.csv")
    modality = learned(signal)
    patches, rng = modality.patches(signal), np.random.default_rng(0)
    before, size = patches.copy(), len(modality.statistics(patches))
    assert len(modality.statistics(patches[:1])) == size
    for strength in (0.0, 0.5, 1.0):
        out = modality.augment(patches, rng, strength)
        assert (out.shape[1:], out.dtype) == (modality.item, np.float32)
        assert 0 < len(out) <= modality.longest
        assert np.isfinite(modality.statistics(out)).all()
        assert len(modality.statistics(out)) == size
    assert np.array_equal(patches, before)
    assert not np.array_equal(modality.augment(patches, rng, 1.0)[:3], patches[:3])


def test_options_and_fewer_numbers_than_in_training():
    signal = read(CLOUD)
    assert learned(signal, longest="100").longest == 100
    for wrong in ({"colour": "red"}, {"longest": "many"}):
        with pytest.raises(InputError):
            learned(signal, **wrong)
    with pytest.raises(InputError):
        POINTS.survey([])
    with pytest.raises(InputError):
        learned(signal).patches(read(CLOUD[:, :3]))


def test_names_and_preview():
    assert carrier_of("A.PLY") == carrier_of("b.pcd.gz") == carrier_of("c.laz") == "points"
    dots = POINTS.preview(read(np.random.default_rng(0).normal(size=(5000, 3))))["dots"]
    assert len(dots) <= 500
    assert len(dots[0]) == 2
    json.dumps(dots)
