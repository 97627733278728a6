"""Curves under damage: what is answered, what is counted, the budget, and what the report says of them."""

import json
import zlib

import numpy as np
import pytest
import report_runs as runs
from test_report import Page

import sensorium as sm
from sensorium.api.answers import answers, truths
from sensorium.api.heads import Rows, all_heads, everyone
from sensorium.api.robust import TOGETHER, corruption_curves
from sensorium.data import Decoder, decode_rows
from sensorium.measure.scores import SCORERS
from sensorium.modalities import CARRIERS
from sensorium.report.robust import corruptions
from sensorium.tasks import Target, Task
from sensorium.types import InputError, Limits

ROWS = 40
CLASSES = ("calm", "wild")


def columns() -> dict[str, list]:
    """A swing, a note and a number, each of which tells the class; some cells are empty."""
    rng = np.random.default_rng(0)
    steps = np.arange(60)
    wild = np.arange(ROWS) % 2
    swing = [np.sin(steps * (0.9 if w else 0.2)) * (2 if w else 0.5) + rng.normal(0, 0.1, 60) for w in wild]
    said = ("slow quiet still soft calm mild tame", "fast loud fierce rough wild keen hot")
    return {
        "swing": [{"array": s[:, None], "sampling_rate": 50} if i % 5 else None for i, s in enumerate(swing)],
        "note": [" ".join(rng.permutation(said[w].split())) if i % 7 else None for i, w in enumerate(wild)],
        "speed": [float(10 + 5 * w + rng.normal(0, 1)) for w in wild],
        "height": rng.normal(5, 1, ROWS).tolist(),
        "y": [CLASSES[w] for w in wild],
    }


@pytest.fixture(scope="module")
def world():
    table = sm.read(columns())
    decoder = Decoder(table, limits=Limits())
    modalities = []
    for name, column, carrier in (
        ("swing", "swing", "series"),
        ("note", "note", "text"),
        ("table", "speed\nheight", "table"),
    ):
        found = [decoder.signal(i, column, carrier) for i in range(ROWS)]
        options = CARRIERS[carrier].survey([s for s in found if s is not None])
        modalities.append(CARRIERS[carrier].define(name, column, **options))
    target = Target(column="y", kind="category", classes=CLASSES, counts=(20, 20))
    task = Task(modalities=tuple(modalities), targets=(target,))
    patches, faults = decode_rows(decoder, range(ROWS), task.modalities)
    assert not any(faults)
    texts = [decoder.of(i, modalities[1]) for i in range(ROWS)]
    rows = Rows(patches=patches, texts={"note": [None if t is None else str(t.values[0]) for t in texts]})
    return task, decoder, rows, (np.arange(ROWS) % 2) ^ (np.arange(ROWS) % 6 == 3)  # no judge is always right


class Judge:
    """A small honest model: the mean of what each modality says, with every call written down."""

    def __init__(self, *use: str):
        self.use, self.asked = use, []

    def __call__(self, rows: Rows) -> np.ndarray:
        self.asked.append(rows)
        said = []
        for i, row in enumerate(rows.patches):
            votes = []
            if "swing" in row and "swing" in self.use:
                votes.append(float(np.abs(row["swing"][:, 0]).mean() > 0.75))
            if rows.texts["note"][i] is not None and "note" in self.use:
                known = set(rows.texts["note"][i].split())
                votes.append(
                    0.5
                    + 0.07
                    * (
                        len(known & {"fast", "loud", "fierce", "rough", "wild"})
                        - len(known & {"slow", "quiet", "still", "soft", "calm"})
                    )
                )
            if "table" in row and "table" in self.use:
                votes.append(float(row["table"][0, 0] > 0))
            wild = np.mean(votes) if votes else 0.5
            said.append([1 - wild, wild])
        return np.array(said)


def curves_of(points: list[dict]) -> dict[tuple[str, str], list[dict]]:
    found: dict[tuple[str, str], list[dict]] = {}
    for p in points:
        found.setdefault((p["modality"], p["corruption"]), []).append(p)
    return found


def measured(world, judge, **options) -> list[dict]:
    task, decoder, rows, truth = world
    options = {"metric": "accuracy", "seconds": 1000.0, **options}
    return corruption_curves(judge, task, decoder, rows, truth, **options)


@pytest.fixture(scope="module")
def curves(world):
    return curves_of(measured(world, Judge("swing", "note", "table")))


def test_every_damage_of_every_modality_has_a_curve(world, curves):
    wanted = {(m.name, c) for m in world[0].modalities for c in CARRIERS[m.carrier].corruptions}
    changes_nothing = {("table", "misspelt words")}  # there is no word in this table
    assert set(curves) == wanted - changes_nothing | {("", TOGETHER)}
    for points in curves.values():
        assert [p["severity"] for p in points] == [0, 1, 2, 3, 4, 5]
        assert len({p["rows"] for p in points}) == 1
        assert set(points[0]) == {"modality", "corruption", "severity", "value", "rows"}
    assert json.loads(json.dumps(list(curves.values()))) == list(curves.values())


def test_severity_nought_is_the_headline_figure_of_those_rows(world, curves):
    task, _, rows, truth = world
    for m in task.modalities:
        have = [i for i in range(ROWS) if m.name in rows.patches[i]]
        said = Judge("swing", "note", "table")(rows.take(have))
        figure = SCORERS["category"](said, truth[have])["accuracy"].value
        for name in CARRIERS[m.carrier].corruptions:
            if (m.name, name) in curves:
                assert curves[m.name, name][0]["value"] == figure
                assert curves[m.name, name][0]["rows"] == len(have)
    assert curves["", TOGETHER][0]["rows"] == ROWS


def test_only_the_damaged_modality_changes_and_texts_go_along(world):
    judge = Judge("note")
    task, _, rows, _ = world
    found = curves_of(measured(world, judge))
    for (modality, _), points in found.items():
        values = {p["value"] for p in points}
        if modality not in ("note", ""):
            assert len(values) == 1, "a model that reads notes alone does not mind"
    assert min(p["value"] for p in found["note", "lost words"]) < found["note", "lost words"][0]["value"], (
        "the words as written are damaged, too"
    )
    several = [asked for asked in judge.asked if len(asked.patches) > ROWS]
    assert several
    clean = {r["table"].tobytes() for r in rows.patches}
    for asked in several:
        if all(r["table"].tobytes() in clean for r in asked.patches):
            continue
        kept = [t for t in asked.texts["note"] if t is not None]
        if set(kept) <= set(rows.texts["note"]):
            return  # the table was damaged and the notes were not
    pytest.fail("no curve damaged the table alone")


def test_all_at_once_damages_each_cell_in_one_of_its_ways(world):
    judge = Judge("swing", "note", "table")
    measured(world, judge)
    rows, drawn = world[2], np.random.default_rng(0).permutation(ROWS)  # rows are answered as they are drawn
    last = judge.asked[-1]
    assert len(last.patches) == 5 * ROWS
    for row, j in zip(last.patches[4 * ROWS :], drawn, strict=True):
        assert set(row) == set(rows.patches[j]), "what is absent stays absent"
    changed = [
        not np.array_equal(row[n], rows.patches[j][n])
        for row, j in zip(last.patches[4 * ROWS :], drawn, strict=True)
        for n in row
    ]
    assert np.mean(changed) > 0.8


def test_the_same_seed_gives_the_same_curves_and_fewer_rows_may_be_asked_for(world):
    judge = Judge("swing", "note", "table")
    first = measured(world, judge, seed=3, most=8)
    assert first == measured(world, judge, seed=3, most=8)
    assert first != measured(world, judge, seed=4, most=8)
    assert max(p["rows"] for p in first) == 8


def test_what_has_no_time_is_named_and_not_measured(world):
    judge = Judge("swing", "note", "table")
    points = measured(world, judge, seconds=0.0)
    assert not judge.asked
    assert {p["value"] for p in points} == {None}
    assert ("swing", "noise") in curves_of(points)
    assert ("", TOGETHER) in curves_of(points)


def test_a_corruption_that_cannot_be_read_is_left_out(world, monkeypatch):
    def broken(signal, rng, severity):
        raise InputError("broken", got=severity, fix="mend it")

    from dataclasses import replace

    series = replace(CARRIERS["series"], corruptions={"broken": broken})
    monkeypatch.setitem(CARRIERS, "series", series)
    found = curves_of(measured(world, Judge("swing")))
    assert [(p["value"], p["rows"]) for p in found["swing", "broken"]] == [(None, 32)]
    assert found["note", "lost words"][0]["value"] is not None


def test_a_trained_model_with_floors_is_measured(world):
    data = columns()
    model = sm.Model("y", epochs=2, columns={"note": "text", "swing": "series"}, size="nano").fit(data)
    task, target = model.task, model.task.target
    table = sm.read(data)
    decoder = Decoder(table, limits=model.limits, rates=model.rates)
    patches, _ = decode_rows(decoder, range(ROWS), task.modalities)
    rows = Rows(patches=patches, texts=world[2].texts)
    truth = truths(target, [target.encode(c) for c in table.cells("y")])

    def answer(some: Rows) -> np.ndarray:
        heads, present, _ = all_heads(model.network, task, model.floors, some)
        return answers(model.experts, target, heads, everyone(heads, present))

    points = corruption_curves(answer, task, decoder, rows, truth, metric="accuracy", most=12, seconds=1000.0)
    found = curves_of(points)
    assert {m for m, _ in found} == {"", *(m.name for m in task.modalities)}
    assert all(0 <= p["value"] <= 1 for p in points)


def test_a_number_whose_truth_is_constant_has_no_figure(world):
    task, decoder, rows, _ = world
    target = Target(column="y", kind="number", classes=(), counts=())
    task = Task(modalities=task.modalities, targets=(target,))
    points = corruption_curves(
        lambda r: np.arange(len(r.patches), dtype=float), task, decoder, rows, np.ones(ROWS), metric="r2", most=5, seconds=1000.0
    )  # fmt: skip
    assert {p["value"] for p in points} == {None}


# --- the section of the report ---------------------------------------------------------------------------------------


def points(spec: dict[tuple[str, str], float], *, clean: float = 0.94, rows: int = 140) -> list[dict]:
    """Curves that fall from `clean` by a given amount at severity 5."""
    return [
        {
            "modality": m,
            "corruption": c,
            "severity": s,
            "value": round(clean - fall * (s / 5) ** 1.5, 4),
            "rows": rows,
        }
        for (m, c), fall in spec.items()
        for s in range(6)
    ]


SPEC = {(m, c): 0.02 + 0.13 * (zlib.crc32(c.encode()) % 4) for m, k in (("image", "image"), ("note", "text")) for c in CARRIERS[k].corruptions}  # fmt: skip
SPEC |= {("audio", c): 0.8 for c in CARRIERS["audio"].corruptions} | {("", "all at once"): 0.84}
SKIPPED = {"modality": "note", "corruption": "blots", "severity": 5, "value": None, "rows": 0}


def words(metrics: dict) -> str:
    return Page(corruptions(metrics)).words()


def test_the_section_says_what_hurts_most_and_what_is_missing():
    said = words(runs.metrics() | {"corruption": [*points(SPEC), SKIPPED]})
    assert "Damage to audio hurts most" in said
    assert "from 94.0\u202f% to 14.0\u202f% at severity 5" in said
    assert "No time was left for: blots of note." in said
    vain = words(runs.metrics() | {"corruption": [*points(SPEC), {**SKIPPED, "rows": 70}]})
    assert "No figure could be had for: blots of note." in vain
    assert "floor (majority)" in said
    assert "All inputs at once" in said
    assert "Every figure" in said
    assert "than chance" not in said


def test_a_fall_within_chance_is_called_so():
    weak = {("image", "blur"): 0.02, ("audio", "white noise"): 0.01}
    said = words(runs.metrics() | {"corruption": points(weak, rows=30)})
    assert "That is less than chance alone can do" in said
    none = words(runs.metrics() | {"corruption": points({("image", "blur"): -0.02})})
    assert "No damage of a single input lowers the figure" in none


def test_a_number_is_shown_on_its_own_scale():
    drops = points({("image", "blur"): 3.0, ("audio", "white noise"): 0.2}, clean=0.8)
    said = words(runs.metrics("number") | {"corruption": drops})
    assert "Damage to image hurts most" in said
    assert "from 0.800 to -2.200 at severity 5" in said
    assert "points" not in said.split("Every figure")[0].split("severity 5)")[0]


@pytest.mark.parametrize(
    "broken",
    [None, [], "x", [{"modality": "a"}], [SKIPPED], [{**SKIPPED, "value": "<b>", "severity": []}], {"a": 1}],
)
def test_nothing_is_shown_where_nothing_was_measured(broken):
    assert corruptions(runs.metrics() | {"corruption": broken}) == ""


def test_names_cannot_break_out():
    evil = "<script>x</script>"
    markup = corruptions(runs.metrics() | {"corruption": points({(evil, evil): 0.3})})
    assert "<script" not in markup
    assert "&lt;script" in markup
