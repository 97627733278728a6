"""Time and memory of contrastive losses, forward and backward: `python -m benchmarks.contrastive`.

Tiled losses beside open_clip's (or, where that is not installed, beside the same table of similarities written out,
which the figures then say). Each case runs in a process of its own. Memory is the most that the two passes took beyond
what the process held before them, gradients included; it needs Linux. `--part memory` tells what is kept between the
two passes as the batch doubles, `--part large` is a batch of 65,536 rows.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import child, emit

CASES = ("tiled", "dense", "tiled sigmoid", "dense sigmoid")


def dense_of(kind: str):
    """open_clip's loss and its name, or the same written out."""
    import torch
    from torch.nn import functional as F

    found = importlib.util.find_spec("open_clip")
    if found is not None and found.origin:
        # the file alone: the package asks for torchvision
        spec = importlib.util.spec_from_file_location("losses", Path(found.origin).with_name("loss.py"))
        losses = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(losses)
        name = "SigLipLoss" if "sigmoid" in kind else "ClipLoss"
        return getattr(losses, name)(), f"open_clip {name}"

    def softmax(x, y, scale):
        number = torch.arange(len(x))
        table, turned = scale * x @ y.T, scale * y @ x.T
        return (F.cross_entropy(table, number) + F.cross_entropy(turned, number)) / 2

    def sigmoid(x, y, scale, bias):
        table = scale * x @ y.T + bias
        return -F.logsigmoid((2 * torch.eye(len(x)) - 1) * table).sum() / len(x)

    return (sigmoid if "sigmoid" in kind else softmax), "written out, open_clip is not installed"


def losses_of(case: str):
    """The loss of a case, by name, with its numbers."""
    import torch

    from sensorium.alignment import info_nce, sigmoid

    scale = torch.tensor(1 / 0.07, requires_grad=True)
    bias = torch.tensor(-9.0, requires_grad=True)
    numbers = (scale, bias) if "sigmoid" in case else (scale,)
    if case.startswith("dense"):
        loss, name = dense_of(case)
    else:
        loss, name = (sigmoid, "sigmoid") if "sigmoid" in case else (info_nce, "info_nce")
    return (lambda x, y: loss(x, y, *numbers)), name, numbers


def sides(rows: int, width: int):
    """Two tables of unit vectors whose rows belong together."""
    import torch
    from torch.nn import functional as F

    torch.manual_seed(0)
    x = F.normalize(torch.randn(rows, width), dim=1)
    y = F.normalize(torch.randn(rows, width).div_(2).add_(x), dim=1)
    return x.requires_grad_(), y.requires_grad_()


def resident(what: str = "VmRSS") -> float:
    """Megabytes that this process holds now; with VmHWM, the most since the last question without."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    if what == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest is counted anew
    return int(status.split(f"{what}:")[1].split()[0]) * 1024 / 1e6


def run_case(case: str, rows: int, width: int, repeats: int) -> None:
    """Run a case in this process; print its loss, size of the gradient and seconds."""
    import torch

    torch.set_num_threads(1)
    loss, name, numbers = losses_of(case)
    x, y = sides(rows, width)
    took, before = [], resident()
    for _ in range(repeats):
        for leaf in (x, y, *numbers):
            leaf.grad = None
        began = time.perf_counter()
        value = loss(x, y)
        value.backward()
        took.append(time.perf_counter() - began)
        value = float(value.detach())
    grads = [float(leaf.grad.norm()) for leaf in (x, numbers[0])]
    figures = {"name": name, "loss": value, "gradients": grads, "seconds": round(min(took), 3)}
    print(json.dumps(figures | {"above_inputs_mb": round(resident("VmHWM") - before, 1)}))


def measure(cases: list[str], rows: int, width: int, repeats: int) -> dict[str, dict]:
    """Run cases in processes of their own, one after the other."""
    found: dict[str, dict] = {}
    for case in cases:
        ask = ["--case", case, "--rows", str(rows), "--width", str(width), "--repeats", str(repeats)]
        with tempfile.TemporaryDirectory() as folder:
            ran = child([sys.executable, "-m", "benchmarks.contrastive", *ask], folder=Path(folder))
        if ran.code:
            sys.exit(f"{case} failed: {ran.err[-500:]}")
        found[case] = json.loads(ran.out) | {"peak_mb": ran.peak_mb}
        emit("contrastive", case=case, rows=rows, width=width, threads=1, **found[case])
    return found


def compare(rows: int, width: int, repeats: int, kinds: list[str]) -> None:
    """Tiled beside dense: time and memory of one forward and backward pass."""
    for kind in kinds:
        tiled, dense = f"tiled{kind}", f"dense{kind}"
        found = measure([dense, tiled], rows, width, repeats)
        emit(
            "contrastive", case=f"tiled / dense{kind}", rows=rows, width=width, beside=found[dense]["name"],
            time=round(found[tiled]["seconds"] / found[dense]["seconds"], 3),
            memory=round(found[tiled]["above_inputs_mb"] / found[dense]["above_inputs_mb"], 3),
            loss_differs=abs(found[tiled]["loss"] - found[dense]["loss"]),
        )  # fmt: skip


def kept(width: int) -> None:
    """Bytes that lie between the two passes, for batches of 512, 1024 and 2048 rows."""
    import torch

    for case in CASES:
        loss, name, _ = losses_of(case)
        sizes = {}
        for rows in (512, 1024, 2048):
            found, alive = {}, []

            def pack(t, found=found, alive=alive):
                found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
                alive.append(t)
                return t

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                loss(*sides(rows, width))
            sizes[rows] = sum(found.values())
        growth = round(sizes[2048] / sizes[1024], 2)
        emit("contrastive", case=f"kept, {case}", name=name, width=width, bytes=sizes, growth=growth)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.contrastive", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--part", default="memory,speed", help="memory, speed, large")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2, help="the fastest counts")
    parser.add_argument("--sigmoid", action="store_true", help="the sigmoid losses, too")
    parser.add_argument("--case", choices=CASES, help="run one case here")
    args = parser.parse_args(argv)
    if args.case:
        run_case(args.case, args.rows, args.width, args.repeats)
        return
    parts = set(args.part.split(","))
    if "memory" in parts:
        kept(32)
    if "speed" in parts:
        compare(args.rows, args.width, args.repeats, ["", " sigmoid"] if args.sigmoid else [""])
    if "large" in parts:
        measure(["tiled"], 65_536, 128, 1)


if __name__ == "__main__":
    main()
