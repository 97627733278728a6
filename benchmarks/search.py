"""Vector search beside faiss and bare LanceDB, in one process: `python -m benchmarks.search`.

Vectors of clusters, top 10 by cosine. Each engine gets the same vectors and queries; what is found is held against a full
sort in double precision. Then pairs of two modalities with a planted offset: what taking off the means does for the
approximate engine and for the ranking. `faiss-cpu` and `lancedb` are left out where they are not installed.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks import emit

K = 10
BATCH = 256  # queries asked at once
AIM_RECALL, AIM_TIMES = 0.99, 4.0


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=256, help="numbers per vector")
    parser.add_argument("--single", type=int, default=50, help="queries asked one by one")
    parser.add_argument("--pairs", type=int, default=60_000, help="pairs of two modalities with an offset")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(10, args.rows // 100), args.width), dtype=np.float32)
    vectors, queries = clustered(rng, centres, args.rows), clustered(rng, centres, BATCH)
    truth = full_sort(vectors, queries)
    with tempfile.TemporaryDirectory() as name:
        exact = own(Path(name) / "own", vectors, queries, truth, args)
        if find_spec("faiss"):
            faiss_flat(vectors, queries, truth, args, exact)
        if find_spec("lancedb"):
            bare_lance(Path(name) / "bare", vectors, queries, truth, args)
    for clusters, offset in ((False, 3.0), (True, 2.0), (True, 1.0)):
        gap(rng, args.pairs, args.width, clusters, offset)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(rng: np.random.Generator, centres: np.ndarray, n: int) -> np.ndarray:
    noise = 0.6 * rng.standard_normal((n, centres.shape[1]), dtype=np.float32)
    return unit(centres[rng.integers(0, len(centres), n)] + noise)


def full_sort(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(m, K) numbers of the nearest vectors, in double precision."""
    whole = vectors.astype(np.float64)
    return np.stack([np.argsort(-(whole @ q), kind="stable")[:K] for q in queries.astype(np.float64)])


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(f, t)) / K for f, t in zip(found, truth, strict=True)]))


@contextmanager
def clock() -> Iterator[dict[str, float]]:
    """Wall and processor seconds of what runs inside."""
    took: dict[str, float] = {}
    used, began = time.process_time(), time.perf_counter()
    yield took
    took["wall_s"], took["cpu_s"] = time.perf_counter() - began, time.process_time() - used


def told(
    engine: str, ask: Callable, queries: np.ndarray, truth: np.ndarray, single: int, **more: object
) -> float:
    """Time a search in a batch, the best of three, and one by one; print the figures."""
    ask(queries[:2])
    rates = []
    for _ in range(3):
        with clock() as batch:
            found = ask(queries)
        rates.append(len(queries) / batch["wall_s"])
    if single:
        with clock() as alone:
            for query in queries[:single]:
                ask(query[None])
    emit(
        "search", engine=engine, recall_at_10=round(recall(found, truth), 4), batch_queries_per_s=round(max(rates), 1),
        batch_queries_per_cpu_s=round(len(queries) / batch["cpu_s"], 1),
        one_by_one_queries_per_s=round(single / alone["wall_s"], 1) if single else None,
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3), **more,
    )  # fmt: skip


def own(path: Path, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, args) -> Callable:
    """The exact and the approximate engine of the index, through `Index.search`; the search of the exact one."""
    from sensorium.store.index import Index

    index = Index.create(path, spaces={"image": args.width}, means={"image": np.zeros(args.width)})
    with clock() as adding:
        for start in range(0, len(vectors), 20_000):
            part = vectors[start : start + 20_000]
            index.add(range(start, start + len(part)), {"image": part}, rows={"even": [i % 2 == 0 for i in range(len(part))]})  # fmt: skip

    def ask(engine: str) -> Callable:
        def asked(some: np.ndarray) -> np.ndarray:
            hits = index.search({"image": some}, answer="image", k=K, engine=engine)
            return np.array([[int(h.id) for h in row] for row in hits])

        return asked

    told("sensorium exact", ask("exact"), queries, truth, args.single, build_s=round(adding["wall_s"], 1))
    if find_spec("lancedb"):
        with clock() as building:
            index.compact(engine="lance")
        near = index.manifest.near["image"]
        told(
            "sensorium lance", ask("lance"), queries, truth, args.single, build_s=round(building["wall_s"], 1),
            build_cpu_s=round(building["cpu_s"], 1), probes=near.probes, candidates=near.candidates, aim_recall=AIM_RECALL,
            recall_against_exact=round(index.recall({"image": queries}).value, 4),
        )  # fmt: skip
    return ask("exact")


def faiss_flat(vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, args, exact: Callable) -> None:
    """faiss, and then both in turns: other work on the machine meets both alike."""
    import faiss

    with clock() as building:
        flat = faiss.IndexFlatIP(args.width)
        flat.add(vectors)

    def ask(some: np.ndarray) -> np.ndarray:
        return flat.search(some, K)[1]

    told("faiss flat", ask, queries, truth, args.single, build_s=round(building["wall_s"], 1))
    took = {"sensorium": [], "faiss": []}
    for _ in range(5):
        for name, search in (("sensorium", exact), ("faiss", ask)):
            with clock() as one:
                search(queries)
            took[name].append((one["wall_s"], one["cpu_s"]))
    wall, cpu = (min(t[i] for t in took["faiss"]) / min(t[i] for t in took["sensorium"]) for i in (0, 1))
    emit(
        "search", ratio="sensorium exact / faiss flat, batch, best of five in turns", times=round(wall, 2),
        times_by_cpu=round(cpu, 2), aim=AIM_TIMES, reached=min(wall, cpu) >= AIM_TIMES,
    )  # fmt: skip


def bare_lance(path: Path, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray, args) -> None:
    """LanceDB as its documentation has it: without an index, then IVF_RQ with a refine factor."""
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfRq

    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), args.width)
    with clock() as writing:
        table = lancedb.connect(path).create_table(
            "bare", pa.table({"key": np.arange(len(vectors)), "vector": lists})
        )

    def ask(refine: int) -> Callable:
        def asked(some: np.ndarray) -> np.ndarray:
            query = table.search(list(some) if len(some) > 1 else some[0]).distance_type("cosine")
            query = query.nprobes(20).refine_factor(refine) if refine else query.bypass_vector_index()
            found = query.select(["key", "_distance"]).limit(K).to_arrow()
            return found.column("key").to_numpy().reshape(len(some), -1)[:, :K]

        return asked

    few = slice(0, min(16, len(queries)))
    told(
        "lancedb without index",
        ask(0),
        queries[few],
        truth[few],
        min(args.single, 5),
        build_s=round(writing["wall_s"], 1),
    )
    with clock() as building:
        table.create_index("vector", config=IvfRq(distance_type="cosine"))
    for refine in (5, 10):
        told(
            f"lancedb IVF_RQ nprobes 20 refine {refine}", ask(refine), queries, truth, args.single,
            build_s=round(building["wall_s"], 1), build_cpu_s=round(building["cpu_s"], 1),
        )  # fmt: skip


def gap(rng: np.random.Generator, n: int, width: int, clusters: bool, offset: float) -> None:
    """Pairs with an offset per modality: pictures ask, captions answer, with and without taking off the means.

    clusters: whether meanings lie in clusters; offset: of a modality, in units of the meaning.
    """
    from sensorium.store.index import lance, places
    from sensorium.store.index.exact import Space, centre, nearest, scales

    centres = rng.standard_normal((max(10, n // 100), width), dtype=np.float32)
    meaning = np.sqrt(width) * clustered(rng, centres, n) if clusters else rng.standard_normal((n, width))
    images, captions = (
        unit(meaning + 0.8 * rng.standard_normal((n, width)) + o)
        for o in offset * rng.standard_normal((2, width))
    )
    asked = slice(0, BATCH)
    for how in ("as they are", "centred"):
        means = [v.mean(0) if how == "centred" else np.zeros(width, np.float32) for v in (images, captions)]
        queries = centre(images[asked], means[0])
        spaces = [
            Space(name=name, vectors=(v,), keys=np.arange(n), mean=mean, scales=(scales(v, mean),))
            for name, v, mean in zip(("image", "caption"), (images, captions), means, strict=True)
        ]
        scores, found = nearest(spaces[1], queries, K)
        own_scores, _ = nearest(spaces[0], queries, K + 1)
        right = found == np.arange(n)[asked, None]
        figures: dict[str, object] = {
            "exact_hit_at_1": round(float(right[:, 0].mean()), 4), "exact_hit_at_10": round(float(right.any(1).mean()), 4),
            # of the ten best items of any modality, how many answer through a caption; half would be fair
            "captions_among_ten": round(float(np.mean([(s > np.sort(o)[0]).sum() for s, o in zip(scores, own_scores, strict=True)])), 2),
        }  # fmt: skip
        if lance.installed():
            figures |= near_figures(lance, places, spaces[1], queries, found)
        emit("modality gap", vectors=how, pairs=n, clusters=clusters, offset=offset, offset_between_means=round(float(np.linalg.norm(images.mean(0) - captions.mean(0))), 3), **figures)  # fmt: skip


def near_figures(lance, places, space, queries: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    """Recall of the approximate engine at the same small setting, and the setting that it needs."""
    with tempfile.TemporaryDirectory() as name:
        place, alive = places.Folder(name), np.ones(len(space), bool)
        tuned = lance.build(place, "near-00000001-0", space, alive, queries)
        small = replace(tuned, probes=4, candidates=100)
        _, found = lance.Approximate(place, small).nearest(space, queries, K, alive)
    return {
        "lance_recall_at_10_cells_4": round(recall(found, truth), 4), "lance_probes": tuned.probes,
        "lance_candidates": tuned.candidates, "lance_recall_tuned": round(tuned.recall, 4),
    }  # fmt: skip


if __name__ == "__main__":
    main()
