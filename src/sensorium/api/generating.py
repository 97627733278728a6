"""One text for one row, with all that a page shows of it."""

from collections.abc import Callable
from dataclasses import replace

from sensorium.api.prepare import decoded
from sensorium.api.saying import silent
from sensorium.api.texts import MANNER, Manner, say_all, streamed
from sensorium.api.writing import drawn, must_write, shortened
from sensorium.data import Decoder
from sensorium.network import Network
from sensorium.tasks import Task
from sensorium.types import InputError


def written_row(
    network: Network, task: Task, decoder: Decoder, *, manner: Manner = MANNER, hear: Callable[[str], object] | None = None
) -> dict[str, object]:  # fmt: skip
    """Write the text for the one row of a table; JSON-able. The page of it is `report.write_generated`'s work.

    hear: gets the text in pieces, as they come; what is written then is what a beam of one finds. Returns `id`, `target`,
    `said`, `log_probability` (natural, of the whole text), `probabilities` (of a closed set's answers, the likeliest
    first), `cells` (previews), `words`, `places` and `shown` (see `api.writing.looks`), and `remarks`. Raises InputError for a run
    whose target is no text, and for a row that cannot be read.
    """
    must_write(task)
    rows, errors = decoded(decoder, task, silent)
    if errors[0]:
        raise InputError(
            "nothing can be written from this", got=errors[0], fix="give at least one of the inputs, and files that can be read"
        )  # fmt: skip
    if hear is not None:
        manner = replace(manner, beam=1, near=None)  # neighbours vote on whole texts
        for piece in streamed(network, task, rows[0], manner=manner):
            hear(piece)
    said = say_all(network, task, rows[:1], manner=manner)[0]
    likely = sorted(said.probabilities.items(), key=lambda p: -p[1])
    return drawn(network, task, decoder, 0, rows[0], said) | {
        "target": task.target.column, "probabilities": {a: round(p, 6) for a, p in likely}, "remarks": shortened(task, decoder)
    }  # fmt: skip
