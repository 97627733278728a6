"""Floors as arrays and JSON, so that those which have a say in the answers can be saved with a run: never a pickle."""

from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.measure.baselines import ByStatistics, ByText, Floor
from sensorium.measure.learners import Columns, Forest, Linear, Terms

Arrays = dict[str, np.ndarray]


def packed(floors: Sequence[Floor]) -> tuple[list[dict[str, object]], Arrays]:
    """Floors of one modality each -> (a JSON description of each, arrays by name)."""
    told: list[dict[str, object]] = []
    arrays: Arrays = {}
    for number, floor in enumerate(floors):
        answer = floor.answer
        assert isinstance(answer, ByStatistics | ByText), "only floors of one modality are kept"
        said: dict[str, object] = {
            "name": floor.name, "modality": floor.modality, "share": list(floor.share),
            "centre": answer.centre, "spread": answer.spread,
        }  # fmt: skip
        found: Arrays = {"prior": np.asarray(answer.prior, dtype=np.float64)}
        if isinstance(answer, ByText):
            said["letters"] = [t.letters for t in answer.terms]
            for i, terms in enumerate(answer.terms):
                found[f"terms{i}"] = np.frombuffer("\n".join(terms.vocabulary).encode("utf-8"), np.uint8)
                found[f"idf{i}"] = terms.idf
        else:
            found |= {f"ready.{k}": getattr(answer.ready, k) for k in ("keep", "middle", "mean", "spread")}
            found["some"] = np.asarray(answer.some)
        model = answer.model
        if isinstance(model, Forest):
            found |= {f"forest.{k}": getattr(model, k) for k in Forest.__dataclass_fields__}
        else:
            said["kind"] = model.kind
            found |= {"slope": model.slope, "start": model.start}
        told.append(said)
        arrays |= {f"{number}/{k}": np.array(v, order="C") for k, v in found.items()}
    return told, arrays


def unpacked(told: Sequence[Mapping], arrays: Mapping[str, np.ndarray]) -> tuple[Floor, ...]:
    """The floors that `packed` described."""
    floors = []
    for number, said in enumerate(told):
        found = {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{number}/")}
        name, prior = str(said["modality"]), found["prior"]
        centre, spread = float(said["centre"]), float(said["spread"])
        model: Forest | Linear
        if "slope" in found:
            model = Linear(slope=found["slope"], start=found["start"], kind=said["kind"])
        else:
            model = Forest(**{k: found[f"forest.{k}"] for k in Forest.__dataclass_fields__})
        answer: ByText | ByStatistics
        if "letters" in said:
            assert isinstance(model, Linear)
            terms = tuple(
                Terms(letters=letters, vocabulary=_words(found[f"terms{i}"]), idf=found[f"idf{i}"])
                for i, letters in enumerate(said["letters"])
            )
            answer = ByText(
                modality=name, terms=terms, model=model, prior=prior, centre=centre, spread=spread
            )
        else:
            ready = Columns(**{k: found[f"ready.{k}"] for k in ("keep", "middle", "mean", "spread")})
            answer = ByStatistics(
                modality=name, ready=ready, some=found["some"], model=model, prior=prior, centre=centre, spread=spread
            )  # fmt: skip
        floors.append(Floor(name=said["name"], modality=name, answer=answer, share=tuple(said["share"])))
    return tuple(floors)


def _words(packed_terms: np.ndarray) -> tuple[str, ...]:
    return tuple(packed_terms.tobytes().decode("utf-8").split("\n"))
