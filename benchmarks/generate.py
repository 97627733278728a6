"""Writing text: `python -m benchmarks.generate`. Tokens per second beside a reference of the same shape.

Three writers of the same number of ids, with random weights: the house's transformer decoder with its cache, the same
one without (the whole text is read again for each id), and the decoder of an encoder-decoder of `transformers` with
the same width, depth, heads, vocabulary and memory, whose encoder is not run. They take turns, and the best run of
each counts: other work on the machine then hurts all of them alike.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import emit

AIM = 1.5  # times the reference at batch 1
WORDS, DIM, HEADS, WIDE, MEMORY = 2000, 128, 4, 3, 24


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__.split("\n")[0])
    parser.add_argument("--ids", type=int, default=48, help="ids that each text gets")
    parser.add_argument("--depth", type=int, default=3, help="layers of the decoders")
    parser.add_argument("--runs", type=int, default=7, help="runs of each writer; the best one counts")
    args = parser.parse_args(argv)

    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    for rows, width in ((1, 1), (16, 1), (1, 4)):
        found = writers(rows, width, ids=args.ids, depth=args.depth)
        speed = {name: rows * args.ids / s for name, s in best_seconds(found, args.runs).items()}
        theirs = speed.get("transformers")
        ratio = round(speed["ours"] / theirs, 2) if theirs else None
        emit(
            "generate", rows=rows, beam=width, ids=args.ids, depth=args.depth, dim=DIM, heads=HEADS, words=WORDS,
            tokens_per_s={name: round(v, 1) for name, v in speed.items()},
            cache_gain=round(speed["ours"] / speed["ours, no cache"], 2), against_transformers=ratio,
            aim=AIM if rows == width == 1 else None, reached=ratio >= AIM if ratio and rows == width == 1 else None,
            threads=torch.get_num_threads(),
        )  # fmt: skip


def writers(rows: int, width: int, *, ids: int, depth: int) -> dict[str, Callable[[], int]]:
    """Functions that write `ids` ids for each row and return how many they wrote for one row."""
    import torch

    from sensorium.tokens import Tokens
    from sensorium.translation import TextDecoder
    from sensorium.translation.beam import beam
    from sensorium.translation.search import Rules, greedy

    decoder = TextDecoder(WORDS, DIM, heads=HEADS, depth=depth, longest=ids).eval()
    memory = Tokens(
        x=torch.randn(rows, MEMORY, DIM),
        kind=torch.ones(rows, MEMORY, dtype=torch.long),
        place=torch.zeros(rows, MEMORY, 3),
        valid=torch.ones(rows, MEMORY, dtype=torch.bool),
    )
    rules = Rules(shortest=ids)

    def write(writer) -> int:
        told = (
            greedy(writer, memory, rules=rules)
            if width == 1
            else beam(writer, memory, width=width, rules=rules)
        )
        return int(told.length[0, 0])

    found = {"ours": lambda: write(decoder), "ours, no cache": lambda: write(uncached(decoder))}
    try:
        import transformers  # noqa: F401
    except ImportError:
        return found
    return {**found, "transformers": theirs(memory.x, width, ids=ids, depth=depth)}


def theirs(memory, width: int, *, ids: int, depth: int) -> Callable[[], int]:
    """The `generate` of an encoder-decoder of the same shape, with its own cache."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration
    from transformers.modeling_outputs import BaseModelOutput

    config = BartConfig(
        vocab_size=WORDS + 2, d_model=DIM, encoder_layers=1, decoder_layers=depth, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=WIDE * DIM, decoder_ffn_dim=WIDE * DIM,
        max_position_embeddings=ids + 8, pad_token_id=0, bos_token_id=WORDS, eos_token_id=WORDS + 1,
        decoder_start_token_id=WORDS, forced_eos_token_id=None,
    )  # fmt: skip
    model = BartForConditionalGeneration(config).eval()
    mask = torch.ones(memory.shape[:2], dtype=torch.long)

    def write() -> int:
        out = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory), attention_mask=mask, num_beams=width,
            do_sample=False, use_cache=True, max_new_tokens=ids, min_new_tokens=ids,
        )  # fmt: skip
        return out.shape[1] - 1

    return write


def uncached(decoder):
    """The same decoder, which reads the whole text again for every id: what a cache must agree with, and beat."""
    from sensorium.translation import Decoder

    class Uncached(Decoder):
        def __init__(self):
            super().__init__(decoder.begin, decoder.embedding.embedding_dim, longest=decoder.longest)
            self.eval()

        def follow(self, memory, ids):
            return decoder.follow(memory, ids)

        def with_looks(self, memory, ids):
            return decoder.with_looks(memory, ids)

        def branches(self, memory, tree):
            return decoder.branches(memory, tree)

        def start(self, memory, *, room, copies=1):
            from dataclasses import fields

            copied = {f.name: getattr(memory, f.name).repeat_interleave(copies, 0) for f in fields(memory)}
            return Whole(memory=type(memory)(**copied))

        def step(self, state, ids):
            import torch

            state.ids = ids[:, None] if state.ids is None else torch.cat([state.ids, ids[:, None]], 1)
            state.length += 1
            return decoder.logits(decoder.follow(state.memory, state.ids)[:, -1]), state

    return Uncached()


@dataclass
class Whole:
    """The state of a decoder without a cache: the texts themselves."""

    memory: object
    ids: object = None
    length: int = 0

    def reorder(self, rows) -> None:
        self.ids = self.ids[rows]


def best_seconds(found: dict[str, Callable[[], int]], runs: int) -> dict[str, float]:
    """The shortest time of each writer; they take turns, and the first turn only warms up."""
    took: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(runs + 1):
        for name, write in found.items():
            began = time.perf_counter()
            write()
            took[name].append(time.perf_counter() - began)
    return {name: min(times[1:]) for name, times in took.items()}


if __name__ == "__main__":
    main()
