"""A model as files: what a run folder holds of it, and how it comes back. JSON and safetensors, never a pickle."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import sensorium
from sensorium.api.blend import Blend
from sensorium.api.neighbours import Neighbours, must_hold
from sensorium.api.promises import Promises
from sensorium.measure.baselines import Floor
from sensorium.measure.experts import Experts
from sensorium.measure.kept import packed, unpacked
from sensorium.modalities import CARRIERS
from sensorium.network import SIZES, Network
from sensorium.nn import MaskedBatchNorm, SampleNorm
from sensorium.store import Table, read_json, remove, write_bytes, write_json
from sensorium.tasks import Target, Task, Wording
from sensorium.training import Plan
from sensorium.types import InputError, Modality

FORMAT = 1  # of the run folder; a reader refuses a higher one
DESCRIBED = {"format", "complete", "mark", "size", "fusion", "plan", "rates", "modalities"}


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What a trained model consists of."""

    task: Task
    network: Network
    size: str
    plan: Plan
    rates: dict[str, float]
    experts: Experts
    floors: tuple[Floor, ...]
    promises: Promises
    neighbours: Neighbours | None = None  # of a target that is written


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchState:
    """What a trained matcher consists of."""

    task: Task
    network: Network
    size: str
    plan: Plan
    rates: dict[str, float]
    blend: Blend


def write_run(folder: Path, model: State, mark: Mapping[str, object], *, complete: bool) -> None:
    """Weights first, description last: a description that says complete never stands beside old weights."""
    _write_weights(folder, model.network)
    floors, arrays = packed(model.floors)
    if floors:
        write_bytes(folder / "floors.safetensors", save_arrays(arrays))
    if model.neighbours is not None:
        told, arrays = model.neighbours.packed()
        write_bytes(folder / "neighbours.safetensors", save_arrays(arrays))
        write_json(folder / "neighbours.json", told)
    write_json(folder / "model.json", {
        **_common(model, mark, complete=complete),
        "targets": [asdict(t) for t in model.task.targets],
        "experts": {"weights": dict(model.experts.weights), "prior": list(model.experts.prior), "lean": model.experts.lean},
        "floors": floors, "promises": model.promises.to_json(), "reasoning": _reasoning(model), "neighbours": model.neighbours is not None,
    })  # fmt: skip


def _reasoning(model: State) -> dict[str, object]:
    reasoning = model.network.reasoning
    return {"question": model.task.question, "steps": 0 if reasoning is None else reasoning.steps}


def write_match(folder: Path, model: MatchState, mark: Mapping[str, object], *, complete: bool) -> None:
    """The run folder of a matcher, in the same order."""
    _write_weights(folder, model.network)
    blend, arrays = model.blend.packed()
    if arrays:
        write_bytes(folder / "blend.safetensors", save_arrays(arrays))
    told = {"match": list(model.task.match), "blend": blend}
    write_json(folder / "model.json", {**_common(model, mark, complete=complete), **told})


def fingerprint_of(model: MatchState) -> str:
    """SHA-256 (hex) of the weights, the blend and the modalities."""
    digest = hashlib.sha256()
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    told, arrays = model.blend.packed()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    options = [[m.name, m.column, m.carrier, m.options] for m in model.task.modalities]
    digest.update(json.dumps([told, options], sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _write_weights(folder: Path, network: Network) -> None:
    state = {k: v.contiguous() for k, v in network.state_dict().items()}
    write_bytes(folder / "model.safetensors", save_tensors(state))


def _common(model: "State | MatchState", mark: Mapping[str, object], *, complete: bool) -> dict[str, object]:
    return {
        "format": FORMAT, "sensorium": sensorium.__version__, "complete": complete, "mark": mark, "size": model.size,
        "fusion": model.network.fusion, "plan": asdict(model.plan), "rates": model.rates,
        "modalities": [{"name": m.name, "column": m.column, "carrier": m.carrier, "options": m.options} for m in model.task.modalities],
    }  # fmt: skip


def read_match(saved: Mapping, folder: Path) -> MatchState:
    """The matcher that a run's description tells of. Raises InputError where its weights are damaged."""
    if "match" not in saved:
        raise InputError(
            "the run answers a target; it matches nothing", got=str(folder), fix="give a run of `fit --match`"
        )
    task = Task(modalities=modalities_of(saved), match=tuple(saved["match"]))
    network = _network(saved, task, folder)
    blend = Blend()
    if saved["blend"]["views"]:
        blend = Blend.unpacked(saved["blend"], _tensors(folder / "blend.safetensors", load_arrays), task)
    return MatchState(
        task=task, network=network, size=saved["size"], plan=Plan(**saved["plan"]), rates=saved["rates"], blend=blend
    )  # fmt: skip


def modalities_of(saved: Mapping) -> tuple[Modality, ...]:
    """The modalities that a run's description tells of."""
    return tuple(
        CARRIERS[m["carrier"]].define(m["name"], m["column"], **m["options"]) for m in saved["modalities"]
    )


def norm_for(memory: int) -> type[SampleNorm | MaskedBatchNorm]:
    """The norm of a network whose steps may hold so many bytes: pieces of a batch must not depend on each other."""
    return SampleNorm if memory else MaskedBatchNorm


def weights_of(folder: Path) -> dict:
    """The network's weights in a run. Raises InputError where they are missing or damaged."""
    return _tensors(folder / "model.safetensors", load_tensors)


def _network(saved: Mapping, task: Task, folder: Path) -> Network:
    norm = norm_for(int(saved["plan"].get("memory", 0)))
    steps = int(saved.get("reasoning", {}).get("steps", 0))
    network = Network(task, SIZES[saved["size"]], fusion=saved["fusion"], norm=norm, steps=steps)
    weights = weights_of(folder)
    if not any(name.startswith("products.") for name in weights):
        network.products = None  # a run of before there were any
    network.load_state_dict(weights)
    network.eval()
    return network


def restored(saved: Mapping, folder: Path) -> State:
    """The model that `saved`, a run's description, tells of. Raises InputError where its weights are damaged."""
    if "targets" not in saved:
        raise InputError(
            "the run matches columns; it answers no target",
            got=str(folder),
            fix="give a run of `fit --target`",
        )
    targets = tuple(_target(t) for t in saved["targets"])
    question = str(saved.get("reasoning", {}).get("question", ""))
    task = Task(modalities=modalities_of(saved), targets=targets, question=question)
    network = _network(saved, task, folder)
    told, floors = saved["experts"], ()
    if saved.get("floors"):
        floors = unpacked(saved["floors"], _tensors(folder / "floors.safetensors", load_arrays))
    return State(
        task=task, network=network, size=saved["size"], plan=Plan(**saved["plan"]), rates=saved["rates"],
        experts=Experts(weights=told["weights"], prior=tuple(told["prior"]), lean=told.get("lean", 0.0)), floors=floors,
        promises=Promises.from_json(saved.get("promises") or {}),
        neighbours=_neighbours(folder, task) if saved.get("neighbours") else None,
    )  # fmt: skip


def _neighbours(folder: Path, task: Task) -> Neighbours:
    told = must_hold(read_json(folder / "neighbours.json"))
    return Neighbours.unpacked(told, _tensors(folder / "neighbours.safetensors", load_arrays), task)


def _target(saved: Mapping) -> Target:
    said = saved.get("wording")
    wording = None if said is None else Wording(**{**said, "answers": tuple(said["answers"])})
    return Target(
        **{**saved, "classes": tuple(saved["classes"]), "counts": tuple(saved["counts"]), "wording": wording}
    )  # fmt: skip


def mark_of(asked: object, table: Table | None = None, valid: Table | None = None) -> dict[str, object]:
    """What tells two fits apart: what was asked for (a dataclass), and the fingerprints of the tables, as JSON.

    Without a table it is the mark of a model that Python saved: no fit goes on from it.
    """
    data = "" if table is None else table.fingerprint()
    mark: dict[str, object] = {"asked": json.loads(json.dumps(asdict(asked))), "data": data}  # type: ignore[call-overload]
    return mark if valid is None else mark | {"valid": valid.fingerprint()}


def begun(folder: Path, mark: Mapping[str, object]) -> dict | None:
    """The description of a run in a folder that the same fit began or finished; None for a folder without a run.

    What an unfinished one left beside its checkpoint is removed. Raises InputError where another fit made it.
    """
    old = described(folder) if (folder / "model.json").exists() else None
    if old is not None and old["mark"] != mark:
        raise InputError(
            "the folder holds another run", got=str(folder), fix="choose another -o, or delete it"
        )
    if old is None or not old["complete"]:
        for name in ("quarantine.jsonl", *(() if old else ("history.jsonl",))):
            remove(folder / name)
    return old


def described(folder: Path) -> dict:
    """The description of a run. Raises InputError where it is damaged or a newer version wrote it."""
    saved = read_json(folder / "model.json", newest=FORMAT)
    if not isinstance(saved, dict) or not DESCRIBED <= set(saved) or not {"targets", "match"} & set(saved):
        raise InputError(
            "model.json does not describe a run",
            got=str(folder),
            fix="give a folder that `sensorium fit -o` wrote, or delete it and fit again",
        )
    return saved


def _tensors(path: Path, unpack: Callable[[bytes], dict]) -> dict:
    """The arrays of one file of a run. Raises InputError where it is missing or damaged."""
    try:
        return unpack(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise InputError(
            "the weights of the run are missing or damaged",
            got=f"{path}: {error}",
            fix="fit again, or copy the run again",
        ) from error
