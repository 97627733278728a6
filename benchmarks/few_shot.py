"""Few labels of each class, and the classes' names: `python -m benchmarks.few_shot`. Shares of right answers.

1, 2, 4 and 8 labelled rows of each class, five draws of them, answers on the same held-out rows: names alone (zero-shot), the
probe with names, the same probe without, two other ways without names (scikit-learn's logistic regression at its
defaults, nearest class mean), and the probe with the names dealt to other classes, which must lose the gain. `p` is of an
exact paired test of the probe with names against the one without. On planted vectors, then in a space that this machine
learns from drawn digits and sentences about them; or in that of a run: --run RUN --data TABLE --label COLUMN --query
image --text caption.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import emit

SHOTS = (1, 2, 4, 8)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAID = (
    "the digit {}", "somebody wrote a {} here", "a {}", "this should be a {}", "a photo of a {}", "I think it is {}",
)  # fmt: skip


def measure(
    name: str, vectors: np.ndarray, labels: np.ndarray, texts: np.ndarray, scale: float, *, seeds: int = 5
) -> list[dict]:
    """Emit one line for each number of labels. vectors: (n, d) unit; labels: (n,); texts: (classes, templates, d)."""
    from sensorium.colearning import paired_test

    half, rows = len(labels) // 2, []
    for each in SHOTS:
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            order = rng.permutation(half)
            some = np.concatenate([order[labels[order] == c][:each] for c in range(len(texts))])
            for way, said in _ways(vectors[some], labels[some], texts, scale, rng).items():
                found.setdefault(way, []).append(said(vectors[half:]).argmax(1) == labels[half:])
        right = {k: np.array(v) for k, v in found.items()}
        gain, lost = (paired_test(right[k], right["probe"]) for k in ("names", "shuffled"))
        share = {k: round(float(v.mean()), 4) for k, v in right.items()}
        best = max(share[k] for k in ("probe", "logistic", "mean"))
        rows.append(emit(
            "few_shot", world=name, labels_of_each_class=each, seeds=seeds, classes=len(texts), held_out=len(labels) - half, right=share,
            gain=round(gain.gain, 4), gains=[round(g, 4) for g in gain.gains], p=gain.p, gain_of_shuffled=round(lost.gain, 4),
            reached=gain.gain > 0 and gain.p < 0.05 and lost.gain <= 0, above_best_without_names=share["names"] >= best,
        ))  # fmt: skip
    return rows


def _ways(
    x: np.ndarray, y: np.ndarray, texts: np.ndarray, scale: float, rng: np.random.Generator
) -> Mapping[str, Callable[[np.ndarray], np.ndarray]]:
    from sklearn.linear_model import LogisticRegression

    from sensorium.colearning import few_shot, one_modality, shuffled_names, zero_shot_probe

    means = np.array([x[y == c].mean(0) for c in range(len(texts))])
    return {
        "zero": zero_shot_probe(texts, scale=scale).answer,
        "names": few_shot(x, y, texts).answer,
        "probe": one_modality(x, y, classes=len(texts)).answer,
        "logistic": LogisticRegression(max_iter=1000).fit(x, y).predict_proba,
        "mean": lambda z: -((z[:, None] - means) ** 2).sum(2),
        "shuffled": few_shot(x, y, shuffled_names(texts, rng)).answer,
    }


def planted(names: float, *, classes: int = 10, width: int = 48, rows: int = 1200, seed: int = 0) -> tuple:
    """Unit vectors of rows and of names whose error is `names` times as long as the classes lie apart; scale 20."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) / width**0.5

    centres, labels = draw(classes, width), rng.integers(0, classes, rows)
    seen = draw(width) + centres[labels] + 1.8 * draw(rows, width)
    said = draw(width) + (centres + names * draw(classes, width))[:, None] + 0.3 * draw(classes, 4, width)
    return *(v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (seen, said)), labels


def in_space(model: object, table: object, label: str, query: str, text: str) -> tuple:
    """Vectors, class numbers, vectors of the classes' prompts and the scale of a trained matcher."""
    from sensorium.colearning import TEMPLATES, prompts
    from sensorium.store import Table
    from sensorium.tasks import label as named

    _, vectors, errors = model.embed(table)
    kept = [i for i, e in enumerate(errors) if not e and vectors[query][i].any()]
    said = [named(c) for c in table.cells(label)]
    classes = sorted({said[i] for i in kept})
    carrier = next(m.carrier for m in model.task.modalities if m.name == query)
    asked = prompts(classes, TEMPLATES[carrier])
    flat = model.embed(Table(data={text: [p for one in asked for p in one]}))[1][text]
    scale = float(model.network.space.scale(query, text).detach())
    numbers = np.array([classes.index(said[i]) for i in kept])
    return vectors[query][kept], numbers, flat.reshape(len(classes), len(asked[0]), -1), scale


def spoken_of(folder: Path, rows: int, minutes: float, vague: float) -> tuple:
    """Learn a space from drawn digits and sentences, some of which name another digit; vectors of other digits."""
    from dataclasses import replace

    from sensorium.api import Matcher
    from sensorium.store import read
    from sensorium.worlds import write_digits

    table = read(write_digits(folder, rows=rows, missing=0.0, engine="builtin") / "digit.csv")
    rng = np.random.default_rng(0)
    words = [WORDS[int(c)] for c in table.cells("digit")]
    heard = [w if rng.random() > vague else WORDS[rng.integers(10)] for w in words]
    said = [SAID[rng.integers(len(SAID))].format(w) for w in heard]
    table = replace(table, data={"image": table.cells("image"), "caption": said, "word": words}, row_ids=None)
    first = rows // 3
    train = table.take(range(first))
    model = Matcher(["image", "caption"], minutes=minutes).fit(replace(train, data={k: train.data[k] for k in ("image", "caption")}))  # fmt: skip
    return in_space(model, table.take(range(first, rows)), "word", "image", "caption")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_shot", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--rows", type=int, default=1500, help="drawn digits, a third to learn the space from"
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="for the space; 0: planted vectors only")
    parser.add_argument(
        "--vague", type=float, default=0.3, help="share of sentences that may name another digit"
    )
    parser.add_argument("--run", help="folder of a run of `fit --match`, instead of these worlds")
    for name, told in (("data", "its table"), ("label", "the classes"), ("query", "what is asked about"), ("text", "the matched text")):  # fmt: skip
        parser.add_argument(f"--{name}", help=f"with --run: {told}")
    args = parser.parse_args(argv)
    if args.run:
        from sensorium.api import load
        from sensorium.store import read

        found = in_space(load(args.run), read(args.data), args.label, args.query, args.text)
        measure(args.run, *found, seeds=args.seeds)
        return
    for names in (0.5, 1.0, 2.0):
        seen, said, labels = planted(names)
        measure(f"planted, names off by {names}", seen, labels, said, 20.0, seeds=args.seeds)
    if args.minutes:
        with tempfile.TemporaryDirectory() as folder:
            found = spoken_of(Path(folder) / "digits", args.rows, args.minutes, args.vague)
            measure("digits and sentences", *found, seeds=args.seeds)


if __name__ == "__main__":
    main()
