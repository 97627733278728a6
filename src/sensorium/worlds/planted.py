"""Small worlds whose truth is known exactly: two columns of noisy 32-d vectors, one answer.

A hidden symbol becomes a fixed vector (its prototype) plus normal noise, so p(answer | vectors) has a closed
form and every row carries the answer of the best possible reader (the Bayes oracle). Each world is
`table.csv` (id, a, b, y, split), `a/*.npy` and `b/*.npy` of shape (1, 32) float32, and what no model may see:
`truth.csv`, a line per row, and `truth.json`, the facts of the whole world.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensorium.types import InputError
from sensorium.worlds.digits import spread

WIDTH = 32  # numbers of a vector
CLASSES = 10  # of `write_imbalance`
TRUSTED = 0.6  # share of rows of `write_imbalance` where `a` shows the answer
KINDS = 4  # classes of `write_quality`
CLEAN = (0.42, 0.52)  # share of rows of `write_quality` that are clean in a and in b
QUIET, LOUD = 0.6, 3.0  # noise of a clean and of a noisy vector, standard deviation in each dimension
REACH = 1.7  # length of the prototypes of `write_quality`
EASY, HARD = 0.2, 0.225  # noise of a and b of `write_imbalance`, where prototypes have length 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """Which symbols come together and what they answer. A symbol is one or two bits, the high bit first."""

    together: np.ndarray  # (symbols, symbols) bool: pairs that occur, all equally often
    answer: Callable[[int, int], int]
    classes: int


_ANY, _SAME = np.ones((2, 2), bool), np.eye(2, dtype=bool)

GATES: Mapping[str, Gate] = {
    "and": Gate(together=_ANY, answer=lambda a, b: a & b, classes=2),
    "or": Gate(together=_ANY, answer=lambda a, b: a | b, classes=2),
    "xor": Gate(together=_ANY, answer=lambda a, b: a ^ b, classes=2),
    "copy": Gate(together=_SAME, answer=lambda a, b: a, classes=2),
    "unique": Gate(together=_ANY, answer=lambda a, b: a, classes=2),
    "two-bit-copy": Gate(together=_ANY, answer=lambda a, b: 2 * a + b, classes=4),
    # the high bits are one shared bit, the low bits are each one's own: the answer is (shared, xor of the own)
    "rdnxor": Gate(together=np.kron(_SAME, _ANY), answer=lambda a, b: (a & 2) + ((a ^ b) & 1), classes=4),
}


def gate_table(gate: str, *, flip: float = 0.05) -> np.ndarray:
    """Give p(x1, x2, y) of a gate, exactly; (symbols, symbols, classes), sums to 1.

    In the share `flip` of rows the answer is one of the other classes, each equally often. Raises InputError
    for an unknown gate or a share outside 0..0.5.
    """
    if gate not in GATES:
        raise InputError("no such gate", got=gate, fix=f"one of {', '.join(GATES)}")
    if not 0 <= flip <= 0.5:
        raise InputError("flips would hide the gate", got=flip, fix="give a share of flips from 0 to 0.5")
    found = GATES[gate]
    table = np.zeros((*found.together.shape, found.classes))
    for x1, x2 in np.argwhere(found.together):
        table[x1, x2] = flip / (found.classes - 1)
        table[x1, x2, found.answer(int(x1), int(x2))] = 1 - flip
    return table / found.together.sum()


def write_gates(
    folder: str | Path, gate: str, *, rows: int = 4000, noise: float = 0.3, flip: float = 0.05, seed: int = 0
) -> Path:
    """Write a logic gate between two columns; return the path of `table.csv`.

    The two values of a bit lie 2 apart, and `noise` is the standard deviation in each dimension: the best
    reader of one bit errs with probability Q(1 / noise) (.0004 at .3). `truth.json` holds `p_x1_x2_y`
    (`gate_table`), `truth.csv` the columns x1, x2, clean (y before flips), flipped, noise, best, best_a,
    best_b (the answers of the oracles who see both columns, or one) and p_0.. (of the first of these).
    Raises InputError for an unknown gate, fewer than 60 rows, no noise, or flips outside 0..0.5.
    """
    table = gate_table(gate, flip=flip)
    _check(rows, noise)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(table.size, rows, p=table.ravel())
    x1, x2, y = np.unravel_index(drawn, table.shape)
    clean = np.array(
        [[GATES[gate].answer(i, j) for j in range(table.shape[1])] for i in range(table.shape[0])]
    )
    seen = [_shown(x, _corners(len(table), rng), noise, rng) for x in (x1, x2)]
    (a, like_a), (b, like_b) = seen
    both = np.einsum("ni,nj,ijk->nk", like_a, like_b, table)
    alone = [np.einsum("ni,ijk->nk", like_a, table), np.einsum("nj,ijk->nk", like_b, table)]
    truth = {"x1": x1, "x2": x2, "clean": clean[x1, x2], "flipped": (y != clean[x1, x2]).astype(int)}
    truth |= {"noise": np.full(rows, noise)}
    told = {"world": gate, "seed": seed, "noise": noise, "flip": flip, "p_x1_x2_y": table.tolist()}
    return _write(Path(folder), (a, b), y, {**truth, **_oracles(both, *alone)}, told)


def write_xor(folder: str | Path, *, rows: int = 4000, seed: int = 0) -> Path:
    """Write the gate XOR with so little noise that the oracle is right in over 99 % of rows; no flips."""
    return write_gates(folder, "xor", rows=rows, noise=0.25, flip=0.0, seed=seed)


def write_imbalance(folder: str | Path, *, rows: int = 12_000, seed: int = 0) -> Path:
    """Write an easy column that often lies beside a hard one that does not; return the path of `table.csv`.

    `a` shows one of ten classes clearly, but in 40 % of rows one drawn by chance, and no row tells which.
    `b` shows two noisy digits, one in each half of its vector, and y is their sum modulo 10. The best answer
    comes almost wholly from `b`, yet `a` is learned first. `truth.csv`: shown (class in a), trusted,
    first, second (digits in b), clean (equals y), noise_a, noise_b and the oracles as in `write_gates`.
    Raises InputError for fewer than 60 rows.
    """
    _check(rows, EASY)
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, CLASSES, (2, rows))
    y = (first + second) % CLASSES
    trusted = rng.random(rows) < TRUSTED
    shown = np.where(trusted, y, rng.integers(0, CLASSES, rows))
    a, like_a = _shown(shown, _prototypes(WIDTH, rng), EASY, rng)
    halves = [_shown(d, _prototypes(WIDTH // 2, rng), HARD, rng) for d in (first, second)]
    turn = (np.arange(CLASSES)[:, None] - np.arange(CLASSES)) % CLASSES  # second digit, by sum and first
    by_b = np.einsum("ni,nki->nk", _shares(halves[0][1]), _shares(halves[1][1])[:, turn])
    by_a = TRUSTED * _shares(like_a) + (1 - TRUSTED) / CLASSES
    truth = {"shown": shown, "trusted": trusted.astype(int), "first": first, "second": second, "clean": y}
    truth |= {"noise_a": np.full(rows, EASY), "noise_b": np.full(rows, HARD)}
    told = {"world": "imbalance", "seed": seed, "noise_a": EASY, "noise_b": HARD, "trusted": TRUSTED}
    b = np.concatenate([half for half, _ in halves], 1)
    return _write(Path(folder), (a, b), y, {**truth, **_oracles(by_a * by_b, by_a, by_b)}, told)


def write_quality(folder: str | Path, *, rows: int = 6000, seed: int = 0) -> Path:
    """Write two columns that both show one of four classes, each clean or noisy by the row; return `table.csv`'s path.

    About half of the vectors have noise .6 in each dimension and the others 3, which their length shows: who
    weighs each vector by its own quality is right in 84 % of rows, who sees one column in 64 to 70 %.
    `truth.csv`: clean (equals y), noise_a, noise_b and the oracles as in `write_gates`; they know the two
    kinds of noise, not which one a row has. Raises InputError for fewer than 60 rows.
    """
    _check(rows, QUIET)
    rng = np.random.default_rng(seed)
    y = rng.integers(0, KINDS, rows)
    vectors, likelihoods, noises = [], [], []
    for share in CLEAN:
        centres = REACH * _prototypes(WIDTH, rng)[:KINDS]
        noise = np.where(rng.random(rows) < share, QUIET, LOUD)
        seen, _ = _shown(y, centres, noise, rng)
        kinds = [np.log(p) + _loglikelihood(seen, centres, n) for p, n in ((share, QUIET), (1 - share, LOUD))]
        vectors.append(seen)
        likelihoods.append(_exp(np.logaddexp(*kinds)))
        noises.append(noise)
    by_a, by_b = likelihoods
    truth = {"clean": y, "noise_a": noises[0], "noise_b": noises[1]}
    told = {"world": "quality", "seed": seed, "noises": [QUIET, LOUD], "share_clean": CLEAN}
    return _write(Path(folder), tuple(vectors), y, {**truth, **_oracles(by_a * by_b, by_a, by_b)}, told)


def _check(rows: int, noise: float) -> None:
    if rows < 60:
        raise InputError("the world needs rows for three splits", got=rows, fix="write at least 60 rows")
    if not noise > 0:
        raise InputError("vectors without noise repeat", got=noise, fix="give a noise above 0, such as 0.3")


def _prototypes(width: int, rng: np.random.Generator) -> np.ndarray:
    """Ten directions at right angles; (10, width), each of length 1."""
    return np.linalg.qr(rng.standard_normal((width, CLASSES)))[0].T


def _corners(symbols: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors of the symbols: each bit is -1 or 1 along a direction of its own; (symbols, WIDTH)."""
    bits = max(1, (symbols - 1).bit_length())
    axes = np.linalg.qr(rng.standard_normal((WIDTH, bits)))[0].T
    signs = 2 * (np.arange(symbols)[:, None] >> np.arange(bits) & 1) - 1
    return signs @ axes


def _shown(
    symbols: np.ndarray, centres: np.ndarray, noise: float | np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the symbols with noise, (rows, width) float32, and likelihoods of all, (rows, symbols)."""
    scale = np.broadcast_to(np.asarray(noise, float), symbols.shape)[:, None]
    seen = (centres[symbols] + scale * rng.standard_normal((len(symbols), centres.shape[1]))).astype(
        np.float32
    )
    return seen, _exp(_loglikelihood(seen, centres, scale))


def _loglikelihood(seen: np.ndarray, centres: np.ndarray, noise: float | np.ndarray) -> np.ndarray:
    """Log density of (rows, width) vectors around each centre, up to a constant; (rows, symbols)."""
    apart = ((seen[:, None].astype(float) - centres) ** 2).sum(-1)
    return -apart / (2 * np.square(noise)) - centres.shape[1] * np.log(noise)


def _exp(logs: np.ndarray) -> np.ndarray:
    """Exponentials relative to the largest of each row, which is 1."""
    return np.exp(logs - logs.max(1, keepdims=True))


def _shares(masses: np.ndarray) -> np.ndarray:
    return masses / masses.sum(1, keepdims=True)


def _oracles(both: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the oracles, from masses (rows, classes) given both vectors, a alone and b alone."""
    best = {name: masses.argmax(1) for name, masses in (("best", both), ("best_a", a), ("best_b", b))}
    return {**best, **{f"p_{k}": p.round(6) for k, p in enumerate(_shares(both).T)}}


def _write(
    folder: Path, vectors: Sequence[np.ndarray], y: np.ndarray, truth: Mapping[str, np.ndarray], told: Mapping
) -> Path:
    """Write vectors, table and truth; return the path of the table."""
    names = [f"{i:05d}" for i in range(len(y))]
    head = _npy_head()
    for column, rows in zip("ab", vectors, strict=True):
        (folder / column).mkdir(parents=True, exist_ok=True)
        for name, row in zip(names, rows, strict=True):
            (folder / column / f"{name}.npy").write_bytes(head + row.astype("<f4").tobytes())
    right = {who: float((truth[who] == y).mean()) for who in ("best", "best_a", "best_b")}
    cells = {c: [f"{c}/{name}.npy" for name in names] for c in "ab"}
    write_csv(folder / "truth.csv", {"id": names, **truth})
    (folder / "truth.json").write_text(json.dumps({**told, "accuracy": right}, indent=1), encoding="utf-8")
    write_csv(folder / "table.csv", {"id": names, **cells, "y": y, "split": spread(len(y))})
    return folder / "table.csv"


def _npy_head() -> bytes:
    """What a .npy file of shape (1, WIDTH) float32 starts with; the same for all, and made once."""
    file = io.BytesIO()
    np.save(file, np.zeros((1, WIDTH), "<f4"))
    return file.getvalue()[: -4 * WIDTH]


def write_csv(path: Path, columns: Mapping[str, Sequence[object] | np.ndarray]) -> None:
    """Write columns of equal length, each under its name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        lists = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()]
        writer.writerows(zip(*lists, strict=True))
