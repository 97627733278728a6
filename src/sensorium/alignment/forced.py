"""When each word was said: models of words, learned from sounds and their transcripts without any times.

Every word is a row of states, two for each letter, between pauses that may be left out. A state is one Gaussian over
mel cepstra and their changes; the pause is a few of them. Learning is closed-form: align, average, and again
("segmental k-means", Juang and Rabiner 1990, IEEE Trans. ASSP 38(9)).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from sensorium.alignment.paths import monotonic_search
from sensorium.types import InputError

CEPSTRA = 13  # of the log-mel spectrum: its shape without the pitch
LAGS = 2  # frames to each side that a change is measured over
FEWEST, PER_LETTER = 3, 2  # states of a word, and of each letter
PRIOR = 10.0  # frames that a letter's average counts among those of a word's own state
LEAST = 0.05  # of the variance of all frames: no state is surer than that
PAUSES = 4  # Gaussians of the pause: hum, breath and clicks differ
LOUD = 0.35  # of the way from the soft to the loud half: speech is above
CELLS = 4_000_000  # frames x states searched at once

State = tuple[str, str, int]  # kind (word, letter, speech, pause), its text, and the place in it
PAUSE, SPEECH = ("pause", "", 0), ("speech", "", 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """One word of a transcript with its time."""

    word: str
    start_s: float
    stop_s: float
    score: float  # mean log likelihood of its frames above that of a pause: low where it was hardly said


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """What is kept of the frames of one state."""

    frames: float
    visits: float
    total: Float[np.ndarray, " dims"]
    squares: Float[np.ndarray, " dims"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gaussians:
    """One Gaussian for each state, and how likely a frame is to stay in it."""

    weight: Float[np.ndarray, " states"]  # logarithm, added to each frame
    mean: Float[np.ndarray, "states dims"]
    variance: Float[np.ndarray, "states dims"]

    def scores(self, x: Float[np.ndarray, "frames dims"]) -> Float[np.ndarray, "frames states"]:
        """Log likelihood of each frame in each state, without the constant that all share."""
        precise = 1 / self.variance
        fixed = (self.mean**2 * precise + np.log(self.variance)).sum(1) - 2 * self.weight
        return -0.5 * (x**2 @ precise.T - 2 * x @ (self.mean * precise).T + fixed)


@dataclass(frozen=True, kw_only=True, slots=True)
class WordModels:
    """What `learn_words` found: sums of each state, the pause, and the scale of the features."""

    centre: Float[np.ndarray, " dims"]
    spread: Float[np.ndarray, " dims"]
    sums: dict[State, Sums]
    pause: Gaussians
    bands: int

    def features(self, mel: Float[np.ndarray, "frames bands"]) -> Float[np.ndarray, "frames dims"]:
        """Cepstra with mean 0 and spread 1 over the frames that were learned from."""
        return (cepstra(mel) - self.centre) / self.spread


# --- features ------------------------------------------------------------------------------------------------------


def cepstra(mel: Float[np.ndarray, "frames bands"]) -> Float[np.ndarray, "frames dims"]:
    """Turn log-mel frames into 13 cepstra, their change, and the change of that: (frames, 39) at most.

    Davis and Mermelstein 1980 (cosines over the bands); changes are slopes over five frames.
    """
    bands = mel.shape[1]
    order = np.arange(min(CEPSTRA, bands))[:, None]
    cosines = np.sqrt(2 / bands) * np.cos(np.pi / bands * order * (np.arange(bands) + 0.5))
    shape = mel.astype(np.float64) @ cosines.T
    change = _slopes(shape)
    return np.concatenate([shape, change, _slopes(change)], 1)


def _slopes(x: np.ndarray) -> np.ndarray:
    wide = np.pad(x, ((LAGS, LAGS), (0, 0)), mode="edge")
    lags = range(1, LAGS + 1)
    rise = sum(k * (wide[LAGS + k :][: len(x)] - wide[LAGS - k :][: len(x)]) for k in lags)
    return rise / (2 * sum(k * k for k in lags))


def speech_span(mel: Float[np.ndarray, "frames bands"]) -> tuple[int, int]:
    """First and last + 1 frame of the run that is loud as a whole: clicks far from it do not count.

    Loudness, smoothed over 11 frames, is split into a soft and a loud half (two means); the run with the largest
    sum above a level between the two is taken. A clip of even loudness is all speech.
    """
    loud = np.convolve(np.pad(mel.mean(1, dtype=np.float64), 5, mode="edge"), np.ones(11) / 11, "valid")
    low, high = np.percentile(loud, [10, 90])
    if not high - low > 1e-6:
        return 0, len(mel)
    for _ in range(10):
        above = loud > (low + high) / 2
        low, high = loud[~above].mean(), loud[above].mean()
    sums = np.concatenate([[0.0], np.cumsum(loud - low - LOUD * (high - low))])
    stop = int((sums - np.minimum.accumulate(sums)).argmax())
    return int(sums[: stop + 1].argmin()), stop


# --- what may be said ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """The states of one transcript: pause, word, pause, word, pause."""

    words: list[str]
    states: list[State]
    letters: list[State]  # what each state falls back on
    owner: Int[np.ndarray, " states"]  # the number of its word, -1 for a pause


def chain(transcript: str) -> Chain:
    """Lay out the states of a transcript; words are told apart by blanks, upper and lower case are one."""
    words = transcript.split()
    states, letters, owner = [PAUSE], [PAUSE], [-1]
    for number, word in enumerate(words):
        own = _states(word.casefold())
        states += [s for s, _ in own] + [PAUSE]
        letters += [letter for _, letter in own] + [PAUSE]
        owner += [number] * len(own) + [-1]
    return Chain(words=words, states=states, letters=letters, owner=np.array(owner))


def _states(word: str) -> list[tuple[State, State]]:
    """The states of a word, each with that of its letter."""
    text = [c for c in word if c.isalnum()] or list(word)
    count = max(FEWEST, PER_LETTER * len(text))
    at = np.arange(count) * len(text) // count
    return [
        (("word", word, i), ("letter", text[k], i - int(np.flatnonzero(at == k)[0])))
        for i, k in enumerate(at)
    ]


def _even(line: Chain, mel: np.ndarray) -> np.ndarray:
    """Each state of each word an equal share of the spoken part: the state of every frame."""
    said = np.flatnonzero(line.owner >= 0)
    first, last = speech_span(mel)
    if last - first < len(said):
        first, last = 0, len(mel)
    path = np.where(np.arange(len(mel)) < first, 0, len(line.states) - 1)
    path[first:last] = said[np.arange(last - first) * len(said) // (last - first)]
    return path


# --- learning ------------------------------------------------------------------------------------------------------


def learn_words(
    mels: Sequence[Float[np.ndarray, "_ _"]], transcripts: Sequence[str], *, rounds: int = 9
) -> WordModels:
    """Learn when words are said from log-mel frames (frames, bands) and what was said; no times are needed.

    Frames should be 5 to 20 ms apart, some hundreds of clips of a few words each, with soft pauses around them (or of
    even loudness throughout): that is how the first guess finds the speech. Clips without words, or with fewer
    frames than states, are left out. Deterministic. Raises InputError where the counts or bands differ, or no clip
    is left.
    """
    if len(mels) != len(transcripts) or len({m.shape[1] for m in mels}) > 1:
        raise InputError(
            "sounds and transcripts do not fit", got=f"{len(mels)} sounds, {len(transcripts)} transcripts",
            fix="give one transcript for each sound, and all sounds with the same bands",
        )  # fmt: skip
    kept = [(m, c) for m, t in zip(mels, transcripts, strict=True) if _fits(c := chain(t), len(m))]
    if not kept:
        raise InputError(
            "no clip to learn words from", got=f"{len(mels)} clips, all without words or too short",
            fix="use a shorter step between frames, or check the transcripts",
        )  # fmt: skip
    lines, raw = [c for _, c in kept], [cepstra(m) for m, _ in kept]
    everything = np.concatenate(raw)
    centre, spread = everything.mean(0), np.maximum(everything.std(0), 1e-6)
    xs = [(x - centre) / spread for x in raw]
    paths, pause = [_even(c, m) for m, c in kept], None
    for left in range(rounds, -1, -1):
        sums, pause = _averaged(lines, xs, paths, pause)
        models = WordModels(centre=centre, spread=spread, sums=sums, pause=pause, bands=kept[0][0].shape[1])
        if left:
            paths = [path for path, _ in _aligned(models, lines, xs)]
    return models


def _fits(line: Chain, frames: int) -> bool:
    return 0 < int((line.owner >= 0).sum()) <= frames


def _averaged(
    lines: Sequence[Chain], xs: Sequence[np.ndarray], paths: Sequence[np.ndarray], pause: Gaussians | None
) -> tuple[dict[State, Sums], Gaussians]:
    """Sums of every state, of its letter and of all speech; and the pause, fitted to the frames between."""
    found: dict[State, list] = defaultdict(lambda: [0, 0, 0.0, 0.0])
    quiet, stays = [xs[0][:0]], 0
    for line, x, path in zip(lines, xs, paths, strict=True):
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        total, squares = (np.add.reduceat(v, starts) for v in (x, x**2))
        for state, frames, one, two in zip(
            path[starts], np.diff([*starts, len(path)]), total, squares, strict=True
        ):
            if line.owner[state] < 0:
                stays += 1
                continue
            for key in (line.states[state], line.letters[state], SPEECH):
                kept = found[key]
                kept[:] = kept[0] + frames, kept[1] + 1, kept[2] + one, kept[3] + two
        quiet.append(x[line.owner[path] < 0])
    sums = {
        k: Sums(frames=float(f), visits=float(v), total=a, squares=b) for k, (f, v, a, b) in found.items()
    }
    return sums, _pause(np.concatenate(quiet), pause, stays)


def _pause(x: np.ndarray, before: Gaussians | None, visits: int) -> Gaussians:
    """Fit the Gaussians of the pause; the first time the frames are parted by their loudness.

    Too few frames change nothing; at first they leave one broad Gaussian, as wide as all frames.
    """
    if len(x) < 20 * PAUSES:
        nothing = np.zeros((1, x.shape[1]))
        return before or Gaussians(weight=np.zeros(1), mean=nothing, variance=nothing + 1)
    stay = np.log(max(1 - visits / len(x), 0.01))
    part = x[:, 0].argsort().argsort() * PAUSES // len(x) if before is None else before.scores(x).argmax(1)
    for _ in range(3):
        groups = [g for k in range(PAUSES) if len(g := x[part == k]) >= 20]
        fitted = Gaussians(
            weight=np.array([np.log(len(g) / len(x)) + stay for g in groups]),
            mean=np.stack([g.mean(0) for g in groups]),
            variance=np.stack([np.maximum(g.var(0), LEAST) for g in groups]),
        )
        part = fitted.scores(x).argmax(1)
    return fitted


def _gaussians(models: WordModels, states: Sequence[tuple[State, State]]) -> Gaussians:
    """The Gaussian of each state, drawn to its letter's, and that to all speech: PRIOR frames count as theirs."""
    speech = models.sums[SPEECH]
    base = np.stack([speech.total, speech.squares]) / speech.frames, speech.frames / speech.visits
    found = []
    for own, letter in states:
        moments, stays = _drawn(models.sums.get(own), *_drawn(models.sums.get(letter), *base))
        spread = np.maximum(moments[1] - moments[0] ** 2, LEAST)
        found.append((np.log(max(1 - 1 / stays, 0.01)), moments[0], spread))
    weight, mean, variance = zip(*found, strict=True)
    return Gaussians(weight=np.array(weight), mean=np.stack(mean), variance=np.stack(variance))


def _drawn(own: Sums | None, moments: np.ndarray, stays: float) -> tuple[np.ndarray, float]:
    """First and second moments, and frames a visit, mixed with those that are expected."""
    if own is None:
        return moments, stays
    both = (np.stack([own.total, own.squares]) + PRIOR * moments) / (own.frames + PRIOR)
    return both, (own.frames + PRIOR) / (own.visits + PRIOR / stays)


# --- aligning ------------------------------------------------------------------------------------------------------


def _aligned(
    models: WordModels, lines: Sequence[Chain], xs: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each clip the state of every frame, and how much likelier a frame is there than in a pause."""
    wanted = sorted(
        {pair for c in lines for pair in zip(c.states, c.letters, strict=True)} - {(PAUSE, PAUSE)}
    )
    where = {pair: i for i, pair in enumerate(wanted)}
    known = _gaussians(models, wanted)
    for few in _batches(lines, xs):
        scored = []
        for i in few:
            line, x = lines[i], xs[i]
            at = np.array([where.get(pair, -1) for pair in zip(line.states, line.letters, strict=True)])
            said = Gaussians(weight=known.weight[at], mean=known.mean[at], variance=known.variance[at])
            quiet = np.logaddexp.reduce(models.pause.scores(x), 1)[:, None]
            scored.append(np.where(at < 0, 0.0, said.scores(x) - quiet))
        yield from zip(_searched(scored, [lines[i].owner < 0 for i in few]), scored, strict=True)


def _batches(lines: Sequence[Chain], xs: Sequence[np.ndarray]) -> Iterator[range]:
    """Runs of neighbours that have at most CELLS frames x states, counted with their padding."""
    first, high, wide = 0, 0, 0
    for i, (line, x) in enumerate(zip(lines, xs, strict=True)):
        high, wide = max(high, len(x)), max(wide, len(line.states))
        if i > first and (i + 1 - first) * high * wide > CELLS:
            yield range(first, i)
            first, high, wide = i, len(x), len(line.states)
    if first < len(lines):
        yield range(first, len(lines))


def _searched(scored: Sequence[np.ndarray], optional: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The best way through each clip, padded and searched at once."""
    frames, states = ([s.shape[axis] for s in scored] for axis in (0, 1))
    padded = torch.zeros(len(scored), max(frames), max(states))
    may_go = torch.zeros(len(scored), max(states), dtype=torch.bool)
    for i, (s, o) in enumerate(zip(scored, optional, strict=True)):
        padded[i, : len(s), : s.shape[1]] = torch.from_numpy(s)
        may_go[i, : len(o)] = torch.from_numpy(o)
    path, _ = monotonic_search(padded, frames=frames, states=states, optional=may_go)
    return [p[:n].numpy() for p, n in zip(path, frames, strict=True)]


def word_times(
    models: WordModels,
    mels: Sequence[Float[np.ndarray, "_ _"]],
    transcripts: Sequence[str],
    *,
    step_s: float,
) -> list[list[Spoken]]:
    """Tell when each word of each transcript was said in its sound, in seconds from the sound's first frame.

    step_s: seconds between frames; frame i is centred on i * step_s. Words that were never learned from are put
    together from their letters. No words, no times. Raises InputError for other bands than were learned from, and
    for a sound with fewer frames than its words have states.
    """
    lines = [chain(t) for t in transcripts]
    for row, (line, mel) in enumerate(zip(lines, mels, strict=True)):
        if mel.shape[1] != models.bands:
            raise InputError("other mel bands than were learned from", got=f"{mel.shape[1]} instead of {models.bands}", fix="use the same features")  # fmt: skip
        if line.words and not _fits(line, len(mel)):
            got = f"{len(mel)} frames for {len(line.words)} words in row {row}"
            raise InputError("the sound is too short for its words", got=got, fix="check the transcript")
    with_words = [i for i, line in enumerate(lines) if line.words]
    found: list[list[Spoken]] = [[] for _ in lines]
    xs = [models.features(mels[i]) for i in with_words]
    for i, (path, score) in zip(
        with_words, _aligned(models, [lines[i] for i in with_words], xs), strict=True
    ):
        above = score[np.arange(len(path)), path]
        found[i] = _timed(lines[i], path, above, step_s)
    return found


def equal_shares(mel: Float[np.ndarray, "frames bands"], transcript: str, *, step_s: float) -> list[Spoken]:
    """Give each word an equal share of the spoken part: the control that any aligner has to beat."""
    words, (first, last) = transcript.split(), speech_span(mel)
    cuts = [
        (max(first - 0.5, 0) + (last - first) * i / max(1, len(words))) * step_s
        for i in range(len(words) + 1)
    ]
    return [
        Spoken(word=w, start_s=a, stop_s=b, score=0.0) for w, a, b in zip(words, cuts, cuts[1:], strict=False)
    ]


def _timed(line: Chain, path: np.ndarray, above: np.ndarray, step_s: float) -> list[Spoken]:
    """The words of one clip: a boundary lies in the middle between two frames."""
    owner = line.owner[path]
    found = []
    for number, word in enumerate(line.words):
        at = np.flatnonzero(owner == number)
        start_s, stop_s = max(at[0] - 0.5, 0.0) * step_s, (at[-1] + 0.5) * step_s
        score = float(above[at].mean())
        found.append(Spoken(word=word, start_s=float(start_s), stop_s=float(stop_s), score=score))
    return found
