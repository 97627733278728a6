"""A tiny world with one column of every kind, each of which tells the answer by itself.

One hidden number between 0 and 1 belongs to every row, and every column shows it in its own way: words,
brightness, pitch, the tempo of a swing, the height of a cloud. `label` names its third (low, middle, high)
and `score` is ten times the number.
"""

import csv
import io
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sensorium.types import InputError

SOUND_HZ, CLIP_HZ, MOTION_HZ = 16_000, 8, 50  # samples, pictures and readings per second
LABELS = ("low", "middle", "high")
TARGETS = ("label", "score")
_WORDS = (
    ("calm", "quiet", "slow", "faint", "still"),
    ("plain", "steady", "usual", "even", "fair"),
    ("wild", "loud", "fast", "bright", "fierce"),
)
_COLOURS = ("blue", "green", "red")


def write_everything(
    folder: str | Path,
    *,
    rows: int = 60,
    seed: int = 0,
    missing: float = 0.2,
    columns: Sequence[str] = (),
    targets: Sequence[str] = TARGETS,
) -> Path:
    """Write `table.csv` and the files it names; return the path of the table.

    Columns: id, split (train, valid, test as 6:2:2), those asked for (none: all of COLUMNS) and the targets.
    With both targets in the table, name the inputs: each target tells the other. The share `missing` of the
    input cells is empty, but no row is. Same arguments, same bytes. Raises InputError for fewer than 15 rows,
    a share outside 0..0.9, or an unknown column.
    """
    names = tuple(columns) or tuple(COLUMNS)
    _check(rows, missing, names, targets)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    third = np.arange(rows) % 3
    third = np.concatenate(
        [rng.permutation(part) for part in np.split(third, [rows * 6 // 10, rows * 8 // 10])]
    )
    hidden = third * 0.4 + rng.uniform(0, 0.2, rows)  # three bands with gaps between them
    empty = rng.random((rows, len(names))) < missing
    empty[np.arange(rows), rng.integers(0, len(names), rows)] = False
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "split", *names, *targets])
        for i, z in enumerate(hidden):
            cells = [
                "" if gone else _cell(folder, n, i, z, rng) for n, gone in zip(names, empty[i], strict=True)
            ]
            split = "train" if i < rows * 6 // 10 else "valid" if i < rows * 8 // 10 else "test"
            answers = {"label": LABELS[third[i]], "score": f"{10 * z:.3f}"}
            writer.writerow([f"row{i:03d}", split, *cells, *(answers[t] for t in targets)])
    return folder / "table.csv"


def _check(rows: int, missing: float, names: Sequence[str], targets: Sequence[str]) -> None:
    if rows < 15:
        raise InputError("each split needs every class", got=rows, fix="write at least 15 rows")
    if not 0 <= missing <= 0.9:
        raise InputError(
            "most rows would be empty", got=missing, fix="give a share of missing cells from 0 to 0.9"
        )
    unknown = [n for n in names if n not in COLUMNS] + [t for t in targets if t not in TARGETS]
    if unknown:
        raise InputError("no such column", got=unknown, fix=f"choose from {', '.join((*COLUMNS, *TARGETS))}")


def _cell(folder: Path, name: str, row: int, z: float, rng: np.random.Generator) -> str:
    """Write what a cell names; return the cell."""
    suffix, make = COLUMNS[name]
    content = make(z, row, rng)
    if isinstance(content, str):
        return content
    (folder / name).mkdir(exist_ok=True)
    (folder / name / f"{row:03d}{suffix}").write_bytes(content)
    return f"{name}/{row:03d}{suffix}"


def _text(z: float, row: int, rng: np.random.Generator) -> str:
    words = rng.choice(_WORDS[min(int(z * 2.5), 2)], 3)
    return f"a {words[0]} and {words[1]} day, {words[2]} as ever"


def _picture(z: float, rng: np.random.Generator, place: float = 0.5) -> np.ndarray:
    """Draw a disc on noise: radius and brightness rise with z, `place` is its way across; (32, 32, 3)."""
    y, x = np.mgrid[:32, :32] / 31
    disc = (y - rng.uniform(0.45, 0.55)) ** 2 + (x - place) ** 2 < (0.12 + 0.3 * z) ** 2
    colour = np.array([0.3 + 0.7 * z, 0.5, 1.0 - 0.7 * z])
    picture = rng.uniform(0, 0.25, (32, 32, 3)) + disc[..., None] * colour * 0.75
    return (picture.clip(0, 1) * 255).astype(np.uint8)


def _image(z: float, row: int, rng: np.random.Generator) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_picture(z, rng)).save(file, "PNG")
    return file.getvalue()


def _tone(z: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A tone from 200 Hz to 2 kHz with a noise floor; (samples,) int16 at SOUND_HZ."""
    t = np.arange(round(seconds * SOUND_HZ)) / SOUND_HZ
    sound = 0.4 * np.sin(2 * np.pi * 200 * 10**z * t + rng.uniform(0, 6)) + rng.normal(0, 0.02, len(t))
    return (sound.clip(-1, 1) * 32767).astype(np.int16)


def _sound(z: float, row: int, rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SOUND_HZ)
        out.writeframes(_tone(z, 0.4, rng).astype("<i2").tobytes())
    return file.getvalue()


def _clip(z: float, row: int, rng: np.random.Generator) -> bytes:
    """A disc that crosses the picture in one second; every second clip has a sound."""
    pictures = [_picture(z, rng, place) for place in np.linspace(0.2, 0.8, CLIP_HZ)]
    return encoded_clip(pictures, _tone(z, 1.0, rng) if row % 2 == 0 else None)


def encoded_clip(
    pictures: Sequence[np.ndarray], sound: np.ndarray | None = None, *, rate_hz: int = CLIP_HZ
) -> bytes:
    """Pack (H, W, 3) uint8 pictures, and (samples,) int16 sound at SOUND_HZ if any, into an MP4 file."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=rate_hz)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt, video.bit_rate, video.thread_count = "yuv420p", 400_000, 1
        audio = None if sound is None else container.add_stream("aac", rate=SOUND_HZ, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            frame.sample_rate = SOUND_HZ
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return file.getvalue()


def _swing(z: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two readings that swing with 1 to 9 Hz for two seconds; (100,) seconds and (100, 2)."""
    t = np.arange(2 * MOTION_HZ) / MOTION_HZ
    angle = 2 * np.pi * (1 + 8 * z) * t + rng.uniform(0, 6)
    return t, np.stack([np.sin(angle), (0.5 + z) * np.cos(angle)], axis=1) + rng.normal(0, 0.1, (len(t), 2))


def _motion(z: float, row: int, rng: np.random.Generator) -> bytes:
    t, values = _swing(z, rng)
    lines = [f"{s:.2f},{x:.4f},{y:.4f}" for s, (x, y) in zip(t, values, strict=True)]
    return "\n".join(["time,x,y", *lines, ""]).encode()


def _trace(z: float, row: int, rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    np.save(file, _swing(z, rng)[1].astype(np.float32))
    return file.getvalue()


def _scene(z: float, rng: np.random.Generator) -> np.ndarray:
    """Points on the ground and in a tower whose height rises with z; (120, 3) metres."""
    ground = rng.uniform(-2, 2, (60, 3)) * [1, 1, 0.02]
    foot = np.array([*rng.uniform(-1, 1, 2), 0.4])
    tower = rng.uniform(-0.4, 0.4, (60, 3)) + foot
    tower[:, 2] *= 0.5 + 3 * z
    return np.concatenate([ground, tower])


def _cloud(z: float, row: int, rng: np.random.Generator) -> bytes:
    points = _scene(z, rng)
    header = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    return (header + "".join(f"{x:.4f} {y:.4f} {h:.4f}\n" for x, y, h in points)).encode()


def _lidar(z: float, row: int, rng: np.random.Generator) -> bytes:
    return ("x,y,z\n" + "".join(f"{x:.4f},{y:.4f},{h:.4f}\n" for x, y, h in _scene(z, rng))).encode()


def _size(z: float, row: int, rng: np.random.Generator) -> str:
    return f"{20 + 100 * z + rng.normal(0, 2):.2f}"


def _colour(z: float, row: int, rng: np.random.Generator) -> str:
    """The colour of the third; every tenth row has the next one, so that it is a hint and not the answer."""
    return _COLOURS[(min(int(z * 2.5), 2) + (row % 10 == 7)) % 3]


# name of the column -> suffix of its files, and what makes a cell: bytes of a file, or the cell itself
COLUMNS: dict[str, tuple[str, Callable[[float, int, np.random.Generator], bytes | str]]] = {
    "text": ("", _text),
    "image": (".png", _image),
    "clip": (".mp4", _clip),
    "sound": (".wav", _sound),
    "motion": (".csv", _motion),
    "trace": (".npy", _trace),
    "cloud": (".ply", _cloud),
    "lidar": (".csv", _lidar),
    "size": ("", _size),
    "colour": ("", _colour),
}
