"""What was measured, and how to measure it again: `python -m benchmarks.NAME` prints one JSON line per figure."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))  # the sources beside this folder are measured, whatever is installed


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A finished child process and what it cost."""

    code: int
    out: str
    err: str
    wall_s: float
    cpu_s: float  # user and system, with its own finished children
    peak_mb: float


def command_line(*args: str) -> list[str]:
    """The real command line in a process of its own."""
    return [sys.executable, "-m", "sensorium", *args]


def child(command: Sequence[str], *, folder: Path) -> Ran:
    """Run a command and measure it; what it prints passes through files in `folder`."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    began = time.perf_counter()
    with out.open("wb") as o, err.open("wb") as e:
        process = subprocess.Popen(command, stdout=o, stderr=e, env={**os.environ, "PYTHONPATH": path})
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    texts = [p.read_text(encoding="utf-8", errors="replace") for p in (out, err)]
    return Ran(
        code=process.returncode, out=texts[0], err=texts[1], wall_s=round(time.perf_counter() - began, 4),
        cpu_s=round(used.ru_utime + used.ru_stime, 3), peak_mb=round(used.ru_maxrss * unit / 1e6, 1),
    )  # fmt: skip


def machine() -> dict[str, object]:
    """What the figures depend on; `load` tells how busy the machine was in the last minute."""
    from importlib.metadata import version

    from sensorium.health import cores, processor

    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {
        "processor": processor(), "cores": cores(), "load": load, "python": platform.python_version(),
        "torch": version("torch"), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def emit(bench: str, **figures: object) -> dict[str, object]:
    """Print one JSON line."""
    row = {"bench": bench, **figures, "machine": machine()}
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return row


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
