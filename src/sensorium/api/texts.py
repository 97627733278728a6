"""Texts that a model writes: how they are searched for, out of a closed set or freely."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sensorium.api.neighbours import NEAR, Candidates, Neighbours, fit_neighbours, weighed
from sensorium.api.saying import Say
from sensorium.data import Row
from sensorium.measure.resample import Score
from sensorium.measure.text import text_scores, words
from sensorium.network import Network, key
from sensorium.tasks import Task, Wording
from sensorium.tokens import Tokens, shared
from sensorium.training import memories
from sensorium.translation.beam import beam
from sensorium.translation.closed import constrained
from sensorium.translation.loss import lesson, row_losses
from sensorium.translation.search import Choose, Rules, by_lot, likeliest, pieces, sample, stream
from sensorium.types import InputError

WIDEST = 1000  # beam
WEIGHED = 400  # validation rows on which it is chosen how much neighbours count


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How texts are searched for where the answers are no closed set."""

    beam: int = 4  # texts that are followed at once
    alpha: float = 0.7  # 0 favours short texts, 1 long ones (arXiv:1609.08144, sec. 7)
    no_repeat: int = 4  # no run of that many ids occurs twice; 0: anything may
    shortest: int = 0  # ids
    longest: int | None = None  # ids; None: as long as training texts
    temperature: float | None = None  # draw by lot instead, of the likeliest nine tenths
    seed: int = 0
    near: Neighbours | None = None  # training rows whose texts are candidates, too

    def __post_init__(self):
        """Raises InputError for a beam that is empty or huge, a negative alpha, a temperature that is not above 0, odd lengths."""
        shortest, longest = self.shortest, self.longest
        wrong = {
            "beam": not 1 <= self.beam <= WIDEST,
            "alpha": not 0 <= self.alpha < np.inf,
            "temperature": self.temperature is not None and not 0 < self.temperature < np.inf,
            "shortest": shortest < 0 or (longest is not None and shortest > longest),
            "longest": longest is not None and longest < 1,
            "no_repeat": self.no_repeat < 0,
        }
        odd = {name: getattr(self, name) for name, is_so in wrong.items() if is_so}
        if odd:
            raise InputError(
                "no text can be searched for so", got=odd,
                fix=f"beam 1 to {WIDEST}, alpha from 0, temperature above 0, 0 <= shortest <= longest, longest from 1",
            )  # fmt: skip

    @property
    def free(self) -> bool:
        """Whether texts of training rows are candidates too: they follow no bounds of length, and are not drawn."""
        return self.temperature is None and self.longest is None and not self.shortest

    @property
    def rules(self) -> Rules:
        """What a text may look like."""
        return Rules(longest=self.longest, shortest=self.shortest, no_repeat=self.no_repeat)


MANNER = Manner()


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """One text that was written."""

    text: str
    log_probability: float  # natural, of the whole text; among the closed set where there is one
    probabilities: Mapping[str, float] = field(default_factory=dict)  # of the closed set's answers


def say_all(
    network: Network, task: Task, rows: Sequence[Row], *, manner: Manner = MANNER, but: Sequence[str] = (),
    tick: Callable[[int], None] = lambda n: None,
) -> list[Said]:  # fmt: skip
    """Write one text for each row, in order; `but` are modalities that are not seen."""
    network.eval()
    found: list[Said | None] = [None] * len(rows)
    done = 0
    near = manner.near if manner.free and not but else None
    for index, memory in memories(network, task, rows, but=but):
        if near is None or not near.share:
            texts = _said(network, task, memory, manner)
        else:
            offered = candidates(network, task, memory, [rows[i] for i in index], near, manner)
            texts = [_agreed(c, near.share, task) for c in offered]
        for row, said in zip(index, texts, strict=True):
            found[row] = said
        done += len(index)
        tick(done)
    return [f for f in found if f is not None]


@torch.inference_mode()
def _said(network: Network, task: Task, memory: Tokens, manner: Manner) -> list[Said]:
    wording, decoder = task.target.wording, network.writers[key(task.target.column)]
    assert wording is not None, "the target is a text"
    if wording.answers:
        told = constrained(decoder, memory, [wording.read(a).tolist() for a in wording.answers]).double()
        return [_chosen(line, wording) for line in told.numpy()]
    if manner.temperature is not None:
        made = sample(decoder, memory, choose=_choice(manner), rules=manner.rules)
    else:
        made = beam(decoder, memory, width=manner.beam, alpha=manner.alpha, rules=manner.rules)
    ids, told = made.ids[:, 0].numpy(), made.log_probability[:, 0].tolist()
    return [Said(text=wording.write(i), log_probability=p) for i, p in zip(ids, told, strict=True)]


@torch.inference_mode()
def candidates(
    network: Network, task: Task, memory: Tokens, rows: Sequence[Row], near: Neighbours, manner: Manner
) -> list[Candidates]:
    """What each row may get: the texts of a beam, and those of training rows that resemble it."""
    wording, decoder = task.target.wording, network.writers[key(task.target.column)]
    assert wording is not None, "the target is a text"
    made = beam(decoder, memory, width=manner.beam, alpha=manner.alpha, rules=manner.rules)
    own = [
        tuple(dict.fromkeys(wording.write(i) for i, p in zip(lines, told, strict=True) if p > -np.inf))
        for lines, told in zip(made.ids.numpy(), made.log_probability.tolist(), strict=True)
    ]
    return near.offered(rows, own, lambda texts: _likely(decoder, wording, memory, texts))


def _likely(
    decoder: torch.nn.Module, wording: Wording, memory: Tokens, texts: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """Mean natural log-probability of an id of each text, the end counted; of several texts for each row of the memory."""
    lines = [torch.from_numpy(wording.read(t).astype(np.int64)) for many in texts for t in many]
    words = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)
    row = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor([len(t) for t in texts]))
    found = []
    for at in range(0, len(words), 256):
        given, wanted = lesson(decoder, words[at : at + 256])
        found.append(-row_losses(decoder(shared(memory, row[at : at + 256]), given), wanted, smoothing=0.0))
    told = torch.cat(found).numpy()
    return np.split(told, np.cumsum([len(t) for t in texts])[:-1])


def _agreed(offered: Candidates, share: float, task: Task) -> Said:
    text = offered.best(share)
    at = offered.texts.index(text)
    length = 0 if task.target.wording is None else len(task.target.wording.read(text))
    return Said(text=text, log_probability=float(offered.likely[at]) * (1 + length))  # the end is one more


def with_neighbours(
    network: Network, task: Task, rows: Sequence[Row], texts: Sequence[Sequence[str]], held: Sequence[Row], truth: Sequence[Sequence[str]],
    *, seed: int, say: Say,
) -> tuple[Neighbours | None, list[dict[str, float]]]:  # fmt: skip
    """Learn neighbours from training rows and, on held-out ones, how much they count; with what was tried."""
    if len(held) < NEAR or task.target.wording is None:
        return None, []
    say("neighbours", 0.0, "training rows that resemble others")
    near = fit_neighbours(task, rows, texts, seed=seed)
    if near is None:
        return None, []
    some, wanted = list(held[:WEIGHED]), truth[:WEIGHED]
    found: list[Candidates | None] = [None] * len(some)
    for index, memory in memories(network.eval(), task, some):
        for i, c in zip(
            index, candidates(network, task, memory, [some[i] for i in index], near, MANNER), strict=True
        ):
            found[i] = c
    metric = headline(task.target.wording, wanted)
    return weighed(near, [c for c in found if c is not None], lambda said: figure(said, wanted, metric).value)


def _choice(manner: Manner) -> Choose:
    """How one id is chosen: by lot where a temperature is given, else the likeliest."""
    if manner.temperature is None:
        return likeliest
    lot = torch.Generator().manual_seed(manner.seed)
    return by_lot(lot, temperature=manner.temperature, top_p=0.9)


def _chosen(told: np.ndarray, wording: Wording) -> Said:
    best = int(told.argmax())
    probabilities = {a: float(p) for a, p in zip(wording.answers, np.exp(told), strict=True)}
    return Said(
        text=wording.answers[best], log_probability=float(told[best]), probabilities=probabilities
    )  # fmt: skip


def streamed(network: Network, task: Task, row: Row, *, manner: Manner = MANNER) -> Iterator[str]:
    """Write the text of one row in pieces, each as soon as no later id can change it: of the likeliest id each time, or by lot.

    An answer out of a closed set comes in one piece.
    """
    wording, decoder = task.target.wording, network.writers[key(task.target.column)]
    assert wording is not None, "the target is a text"
    _, memory = next(memories(network.eval(), task, [row]))
    if wording.answers:
        yield _said(network, task, memory, manner)[0].text
        return
    ids = (int(i[0]) for i in stream(decoder, memory, choose=_choice(manner), rules=manner.rules))
    yield from pieces(ids, wording.write)


def headline(wording: Wording, truth: Sequence[Sequence[str]]) -> str:
    """The figure that counts: exact match of short answers, CIDEr-D of captions told in several ways, else chrF."""
    lengths = [len(words(t)) for row in truth for t in row]
    if wording.answers or not lengths or np.median(lengths) <= 3:
        return "exact"
    return "cider_d" if np.median([len(row) for row in truth]) > 1 and len(truth) > 1 else "chrf"


def figure(said: Sequence[str], truth: Sequence[Sequence[str]], metric: str, seed: int = 0) -> Score:
    """One figure of `measure.text.text_scores`."""
    return text_scores(said, truth, seed=seed)[metric]
