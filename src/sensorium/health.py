"""Doctor: what this machine can do, measured; what is installed; what was chosen because of it."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

LATER = " (not used by this version)"
EXTRAS: Mapping[str, tuple[tuple[str, ...], str]] = {  # extra -> modules that it brings, what they are for
    "demo": (("espeakng_loader",), "natural voices in the demo"),
    "sensors": (("laspy", "plyfile", "gpxpy", "wfdb", "pyedflib"), "lidar files in LAS and LAZ; the others only to compare with"),
    "hf": (("transformers",), f"pretrained encoders{LATER}"),
    "store": (("lancedb",), f"vector search on disk{LATER}"),
    "serve": (("fastapi", "uvicorn", "python_multipart"), f"HTTP API and web page{LATER}"),
    "scale": (("daft", "ray"), f"many machines{LATER}"),
    "explain": (("captum",), f"other explanations, to compare with{LATER}"),
    "metrics": (("jiwer", "sacrebleu"), f"other metrics, to compare with{LATER}"),
    "track": (("tensorboard",), "TensorBoard events"),
    "export": (("onnx", "onnxscript", "onnxruntime"), f"ONNX files{LATER}"),
}  # fmt: skip
CORE = ("torch", "numpy", "pillow", "av", "soundfile", "soxr", "safetensors", "tokenizers", "pyarrow", "scikit-learn", "rich")  # fmt: skip
# What the one loop can do today; other settings are measured and shown only.
TRAINED_IN = (("cpu", "float32"),)
GAIN = 1.25  # how much faster a lower precision must be, and GAIN_THREADS a further thread, to be worth it
GAIN_THREADS = 1.1
LABELS = {"memory_gb": "memory, GB", "disk_free_gb": "free disk, GB"}
KEEP_S = 7 * 24 * 3600.0  # a measurement is repeated after a week: it may have been taken on a busy machine
PROBE = 1  # version of the measurement: a cached one of another version is not used


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What training uses on this machine, and why."""

    device: str
    precision: str
    threads: int
    reason: str
    speed: Mapping[str, float]  # "cpu float32" -> 1e9 multiply-adds a second; 0 where it is not possible
    step_ms: Mapping[str, float]  # "2 threads", "bfloat16" -> milliseconds of a small training step
    measured: float = 0.0  # seconds since 1970
    cached: bool = False


def version(name: str) -> str:
    """The installed version of a distribution, or "missing"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


# --- the machine ---------------------------------------------------------------------------------------------------


def cores() -> int:
    """Processor cores that this process may use: affinity, then the limit of its control group."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cpu_limit(control_groups())
    return seen if limit is None else max(1, min(seen, math.ceil(limit)))


def control_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Folders that may bound this process: its control groups and all above them, versions 1 and 2."""
    found = [root, root / "cpu", root / "memory"]
    for line in _text(own).splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        for base in (root, root / "unified", *(root / n for n in names.split(",") if n)):
            folder = base / path.lstrip("/")
            found += [folder, *(p for p in folder.parents if p.is_relative_to(root))]
    return list(dict.fromkeys(found))


def cpu_limit(folders: Iterable[Path]) -> float | None:
    """The tightest limit in cores, from `cpu.max` (version 2) or `cpu.cfs_quota_us` (version 1); None for none."""
    found = []
    for folder in folders:
        quota, period = [*_text(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit(folders: Iterable[Path]) -> int | None:
    """The tightest limit in bytes, from `memory.max` or `memory.limit_in_bytes`; None for none."""
    texts = [_text(f / n) for f in folders for n in ("memory.max", "memory.limit_in_bytes")]
    return min((int(t) for t in texts if t.isdigit() and 0 < int(t) < 1 << 60), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def processor() -> str:
    """The processor's name as its maker gives it."""
    named = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def memory() -> int | None:
    """Bytes of memory that this process may use; None where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(whole, memory_limit(control_groups()) or whole)


def machine() -> dict[str, object]:
    """Processor, usable cores, memory, disk and accelerators."""
    import torch

    size, kinds = memory(), ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    return {
        "system": platform.platform(), "python": platform.python_version(), "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(), "cores": cores(),
        "memory_gb": None if size is None else round(size / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "accelerators": [torch.cuda.get_device_name() if k == "cuda" else "Apple GPU" for k in kinds],
    }  # fmt: skip


# --- what is installed ---------------------------------------------------------------------------------------------


def extras() -> dict[str, dict[str, object]]:
    """Each extra: whether all of it is installed, what it is for, and the command that installs it here."""
    return {
        name: {"installed": all(map(_there, modules)), "for": why, "command": install_command(name)}
        for name, (modules, why) in EXTRAS.items()
    }


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def install_command(extra: str) -> str:
    """The command that installs an extra into the running Python, from the sources where they are at hand."""
    sources = Path(__file__).resolve().parents[2]
    what = f"{sources}[{extra}]" if (sources / "pyproject.toml").is_file() else f"sensorium[{extra}]"
    if _there("pip"):
        return f'"{sys.executable}" -m pip install "{what}"'
    return f'uv pip install --python "{sys.executable}" "{what}"'


def decoders() -> dict[str, list[str]]:
    """What the media libraries on this machine can read."""
    import av
    import soundfile
    from PIL import features

    pictures = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "TIFF": "libtiff", "AVIF": "avif", "JPEG 2000": "jpg_2000"}  # fmt: skip
    known = features.get_supported()
    return {
        "pictures": ["GIF", "BMP", *(name for name, feature in pictures.items() if feature in known)],
        "sound files": sorted(soundfile.available_formats()),
        "sound in videos": _codecs(av, ("aac", "ac3", "mp3", "opus", "vorbis", "flac", "alac", "pcm_s16le")),
        "video": _codecs(av, ("h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mjpeg", "gif")),
    }  # fmt: skip


def _codecs(av, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in av.codecs_available and _decodes(av, name)]


def _decodes(av, name: str) -> bool:
    """Whether the library can decode a format that it knows, not only write it."""
    try:
        av.Codec(name, "r")
    except ValueError:  # its own UnknownCodecError is one
        return False
    return True


# --- what is fast --------------------------------------------------------------------------------------------------


def devices() -> list[str]:
    """Places where tensors can live here, the processor first."""
    import torch

    return ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()


def rate_of(work: Callable[[], object], wait: Callable[[], None], seconds: float) -> float:
    """How often a second `work` can be done: single runs for about `seconds` after one to warm up.

    The lower quartile of their times counts, since other work on the machine can only slow them. `wait` returns
    when an accelerator has finished what it was given.
    """
    work()
    wait()
    took: list[float] = []
    began = time.perf_counter()
    while not took or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        wait()
        took.append(time.perf_counter() - start)
    return 1 / max(sorted(took)[len(took) // 4], 1e-9)


def _waiter(device: str) -> Callable[[], None]:
    import torch

    return {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device, lambda: None)


def precisions(seconds: float = 0.3) -> dict[str, float]:
    """Speed of products of 512 x 512 matrices, "cpu float32" -> 1e9 multiply-adds a second; 0: not possible."""
    import torch

    found = {}
    for device in devices():
        side = 512 if device == "cpu" else 4096
        for name in ("float32", "bfloat16", "float16"):
            try:
                a = torch.randn(side, side, device=device).to(getattr(torch, name))
                rate = rate_of(partial(torch.matmul, a, a), _waiter(device), seconds)
            except (RuntimeError, TypeError):  # MPS refuses a type with a TypeError
                rate = 0.0
            found[f"{device} {name}"] = round(rate * side**3 / 1e9, 1)
    return {**found, "cpu int8 linear": round(int8_rate(seconds) * 512**3 / 1e9, 1)}


def int8_rate(seconds: float) -> float:
    """How often a second a linear layer of 512 x 512 answers 512 rows in 8 bits; 0: not possible.

    The weights are 8 bits wide beforehand, the rows are brought to 8 bits by their own largest number each time.
    """
    import torch

    rows, weight = torch.randn(512, 512), torch.randint(-127, 128, (512, 512)).to(torch.int8)

    def answer() -> torch.Tensor:
        scale = rows.abs().amax(1, keepdim=True) / 127
        return torch._int_mm((rows / scale).round_().to(torch.int8), weight).float().mul_(scale)

    try:
        return rate_of(answer, lambda: None, seconds)
    except (RuntimeError, NotImplementedError, AttributeError):
        return 0.0


def step_times(most: int, seconds: float = 0.3) -> dict[str, float]:
    """Milliseconds of one training step of a small network, "1 thread" -> ms, up to `most`; then in bfloat16.

    Products may be fast in a lower precision and small steps slow, so the step itself is measured, with the number
    of threads that was best. The number of threads is put back as it was.
    """
    import torch

    before, counts = torch.get_num_threads(), {1, most} | {2**k for k in range(1, 7) if 2**k < most}
    step, found = _small_step(), {}
    try:
        for count in sorted(counts):
            torch.set_num_threads(count)
            found[count] = round(1e3 / rate_of(step, lambda: None, seconds), 2)
        torch.set_num_threads(min(found, key=lambda n: found[n]))
        with torch.autocast("cpu", torch.bfloat16):
            low = round(1e3 / rate_of(step, lambda: None, seconds), 2)
        return {
            **{f"{n} {'thread' if n == 1 else 'threads'}": ms for n, ms in found.items()},
            "bfloat16": low,
        }
    finally:
        torch.set_num_threads(before)


def _small_step() -> Callable[[], None]:
    import torch
    from torch import nn

    layers = [nn.Conv1d(40, 96, 5, stride=2, padding=2), nn.GELU(), nn.Conv1d(96, 96, 5, stride=2, padding=2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, 10))
    x = torch.randn(32, 40, 64)

    def step() -> None:
        network.zero_grad()
        network(x).square().mean().backward()

    return step


# --- what to use ---------------------------------------------------------------------------------------------------


def decide(speed: Mapping[str, float], step_ms: Mapping[str, float]) -> Settings:
    """Choose from measurements: the fastest place and precision that the loop can use, and the fewest threads.

    A lower precision must be GAIN times as fast as float32 there, one more doubling of threads GAIN_THREADS.
    """

    def worth(setting: tuple[str, str]) -> float:
        return speed.get(" ".join(setting), 0.0) / (1.0 if setting[1] == "float32" else GAIN)

    device, precision = max(TRAINED_IN, key=worth)
    by_count = {int(name.split(" ")[0]): ms for name, ms in step_ms.items() if "thread" in name}
    threads = 1
    for count in sorted(by_count):
        if by_count[threads] > by_count[count] * GAIN_THREADS:
            threads = count
    return Settings(
        device=device, precision=precision, threads=threads, reason=_reason(f"{device} {precision}", threads, speed, step_ms),
        speed=dict(speed), step_ms=dict(step_ms),
    )  # fmt: skip


def _reason(best: str, threads: int, speed: Mapping[str, float], step_ms: Mapping[str, float]) -> str:
    usual = speed.get("cpu float32", 0.0)
    faster = [f"{n} {v / usual:.1f}x" for n, v in speed.items() if usual and v > GAIN * usual and n != best]
    slower = [f"{n} {usual / v:.1f}x" for n, v in speed.items() if v and usual > GAIN * v]
    only = len(TRAINED_IN) == 1
    parts = [
        f"{best}: the only setting of this version's training" if only else f"{best}: the fastest measured"
    ]
    if faster:
        parts.append(
            f"large products are faster in {', '.join(faster)}" + ", which training cannot use yet" * only
        )
    if slower:
        parts.append(f"slower: {', '.join(slower)}")
    steps = ", ".join(f"{name} {ms:g} ms" for name, ms in step_ms.items())
    return "; ".join(
        [*parts, f"{threads} {'thread' if threads == 1 else 'threads'} by a small training step: {steps}"]
    )


def cache_file() -> Path:
    """Where the measurement is kept: under XDG_CACHE_HOME, else the system's usual folder for caches."""
    home = Path(os.path.expanduser("~"))
    usual = {
        "darwin": home / "Library" / "Caches",
        "win32": Path(os.environ.get("LOCALAPPDATA") or home),
    }.get(sys.platform, home / ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "sensorium" / "machine.json"


def fingerprint() -> str:
    """Name this machine and this torch: a measurement of another one does not count."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    told = [PROBE, processor(), cores(), gpu, devices(), torch.__version__, TRAINED_IN]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:16]


def choose(*, fresh: bool = False, seconds: float = 0.3) -> Settings:
    """Return the settings for this machine: from the cache, else measured (about two seconds) and kept there.

    `fresh` measures in any case. A cache that cannot be read or written does no harm.
    """
    key, path = fingerprint(), cache_file()
    kept = None if fresh else _kept(path).get(key)
    if isinstance(kept, dict) and 0 <= time.time() - kept.get("measured", 0.0) < KEEP_S:
        with contextlib.suppress(TypeError):  # another version wrote it
            return Settings(**{**kept, "cached": True})
    found = replace(decide(precisions(seconds), step_times(cores(), seconds)), measured=time.time())
    _keep(path, {**_kept(path), key: asdict(found)})
    return found


def _kept(path: Path) -> dict[str, object]:
    try:
        found = json.loads(_text(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _keep(path: Path, value: Mapping[str, object]) -> None:
    """Replace the file in one step; where that is not possible the next process measures again."""
    if not path.is_absolute():  # a user without a home
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(value, file, indent=1)
        os.replace(file.name, path)


# --- for people ----------------------------------------------------------------------------------------------------


def doctor(*, seconds: float = 0.3) -> dict[str, object]:
    """Examine the machine and measure it afresh; takes about three seconds."""
    settings = choose(fresh=True, seconds=seconds)
    return {
        "machine": machine(), "packages": {n: version(n) for n in ("sensorium", *CORE)}, "extras": extras(),
        "decoders": decoders(), "chosen": asdict(settings), "cache": str(cache_file()),
    }  # fmt: skip


def shown(found: Mapping, *, width: int = 100) -> list[str]:
    """The findings as lines for people, at most `width` characters wide where words allow it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, color_system=None)
    for title, rows in _tables(found).items():
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=title, title_justify="left")
        for _ in range(2):
            table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(f"  {name}", value)
        console.print(table)
    return [line.rstrip() for line in console.file.getvalue().rstrip().split("\n")]  # type: ignore[attr-defined]


def _tables(found: Mapping) -> dict[str, list[tuple[str, str]]]:
    chosen, plain = found["chosen"], {k: v for k, v in found["machine"].items() if v not in (None, [])}
    used = {n: e for n, e in found["extras"].items() if LATER not in e["for"] or e["installed"]}
    extra = [
        (name, f"installed: {e['for']}" if e["installed"] else f"not installed: {e['for']}\n{e['command']}")
        for name, e in used.items()
    ]
    idle = [name for name in found["extras"] if name not in used]
    extra += (
        [("others", f"{', '.join(idle)}: for later versions, this one uses none of them")] if idle else []
    )
    speed = [(name, f"{value:g}" if value else "not possible") for name, value in chosen["speed"].items()]
    steps = [(name, f"{ms:g} ms") for name, ms in chosen["step_ms"].items()]
    return {
        "Machine": [(LABELS.get(k, k), ", ".join(v) if isinstance(v, list) else str(v)) for k, v in plain.items()],
        "Packages": [("versions", ", ".join(f"{k} {v}" for k, v in found["packages"].items()))],
        "Extras": extra,
        "Decoders": [(name, ", ".join(formats)) for name, formats in found["decoders"].items()],
        "Speed of matrix products, 1e9 multiply-adds a second": speed,
        "A small training step": steps,
        "Chosen": [
            ("device", chosen["device"]), ("precision", chosen["precision"]), ("threads", str(chosen["threads"])),
            ("why", chosen["reason"].replace("; ", "\n")), ("kept in", found["cache"]),
        ],
    }  # fmt: skip
