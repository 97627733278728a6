"""The row's own fields: numbers, categories, and cells that are empty."""

import json

import numpy as np
import pytest

from sensorium.modalities import CARRIERS
from sensorium.types import InputError, Limits, Media, Modality, Signal

TABLE = CARRIERS["table"]
NAMES = ("age", "town", "smokes")


def read(**cells: object) -> Signal | None:
    return TABLE.decode(Media(content=cells), Limits())


def rows(count: int = 200) -> list[Signal]:
    rng = np.random.default_rng(0)
    found = [
        read(
            age=str(int(rng.integers(20, 80))) if i % 5 else None,
            town=rng.choice(["Oslo", "Lima"]) if i % 3 else "",
            smokes=bool(rng.integers(0, 2)),
        )
        for i in range(count)
    ]
    return [s for s in found if s is not None]


def learned(signals: list[Signal]) -> Modality:
    return TABLE.define("table", "age\ntown\nsmokes", **json.loads(json.dumps(TABLE.survey(signals))))


def test_a_row_of_empty_cells_is_absent():
    assert read(age=None, town="  ", smokes=float("nan")) is None
    assert read(age=None, town=np.float32("nan")) is None
    assert read(age=0, town=None) is not None
    assert read(age=None, smokes=False) is not None


def test_numbers_are_scaled_and_categories_coded():
    modality = learned(rows())
    assert (modality.item, modality.longest) == ((3,), 3)
    assert [f["name"] for f in modality.options["fields"]] == list(NAMES)
    patches = np.stack([modality.patches(s) for s in rows()])
    assert patches.dtype == np.float32
    seen = patches[:, 0, 2] > 0
    assert 0.75 < seen.mean() < 0.85
    assert abs(patches[seen, 0, 0].mean()) < 0.3
    assert patches[seen, 0, 0].std() == pytest.approx(1, abs=0.3)
    assert set(patches[:, 1, 1]) == {0, 1, 2}
    assert (patches[patches[:, :, 2] == 0] == 0).all()


def test_a_new_category_has_its_own_code_and_large_numbers_are_clipped():
    modality = learned(rows())
    assert modality.patches(read(age=1e29, town="Rome", smokes=True))[:2].tolist() == [[8, 0, 1], [0, 255, 1]]
    for gone in ("NA", " n/a ", "?", "NaN"):
        assert modality.patches(read(age=gone, town="Oslo", smokes=True))[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("age", "many"), ("age", float("inf")), ("age", 10**400), ("age", "1e400"), ("age", "-inf"), ("age", [3]), ("age", b"3"),
        ("town", ["Oslo"]), ("town", {"a": 1}), ("town", np.zeros(3)), ("town", b"Oslo"),
    ],
)  # fmt: skip
def test_a_cell_of_another_kind_is_no_empty_cell(field, cell):
    modality = learned(rows())
    with pytest.raises(InputError, match=f"'{field}' should hold"):
        modality.patches(read(**{"age": 33, "town": "Oslo", "smokes": True, field: cell}))


def test_a_few_odd_cells_among_training_rows_do_not_spoil_a_field():
    odd = [read(a="oops", b="x"), read(a=float("inf"), b=["y"])]
    fields = TABLE.survey([*(read(a=i, b="xy"[i % 2]) for i in range(98)), *odd])["fields"]
    assert fields[0]["mean"] == pytest.approx(48.5, abs=1)
    assert fields[1]["categories"] == ["x", "y"]


def test_one_category_may_be_written_in_several_ways():
    modality = learned([read(a=v) for v in ("true", True, "red")] * 10)
    codes = {float(modality.patches(read(a=v))[0, 1]) for v in (True, "True", "true", np.True_)}
    assert len(codes) == 1
    modality = learned([read(a=v) for v in ("3", "x", "y")] * 10)
    assert modality.patches(read(a=3.0))[0, 1] == modality.patches(read(a="3"))[0, 1] < 255


def test_fields_are_found_by_name_and_absent_ones_are_absent():
    modality = learned(rows())
    one = modality.patches(read(smokes=True, town="Oslo", age=33))
    assert np.array_equal(one, modality.patches(read(age=33, town="Oslo", smokes=True, other="ignored")))
    assert modality.patches(read(town="Oslo"))[:, 2].tolist() == [0, 1, 0]


def test_many_categories_and_constant_numbers():
    signals = [read(a=f"n{i}", b=5, c=None if i else "once") for i in range(600)]
    modality = learned(signals)
    patches = np.stack([modality.patches(s) for s in signals])
    assert patches[:, 0, 1].max() == 255
    assert len(modality.options["fields"][0]["categories"]) < 255
    assert (patches[:, 1, 0] == 0).all()
    assert np.isfinite(patches).all()


def test_augmentation_keeps_a_field():
    modality = learned(rows())
    only = modality.patches(read(town="Oslo"))
    assert all((modality.augment(only, np.random.default_rng(i), 1.0)[:, 2] > 0).any() for i in range(100))
    patches, rng = modality.patches(read(age=33, town="Oslo", smokes=True)), np.random.default_rng(0)
    before = patches.copy()
    outs = [modality.augment(patches, rng, 1.0) for _ in range(200)]
    assert all((o[:, 2] > 0).any() for o in outs)
    assert any((o[:, 2] == 0).any() for o in outs)
    assert all(o.dtype == np.float32 and o.shape == patches.shape for o in outs)
    assert np.array_equal(modality.augment(patches, rng, 0.0), patches)
    assert np.array_equal(patches, before)


def test_statistics_have_one_length():
    modality = learned(rows())
    sizes = {modality.statistics(modality.patches(s)).shape for s in rows()}
    assert len(sizes) == 1
    one, two = (modality.statistics(modality.patches(read(town=t))) for t in ("Oslo", "Lima"))
    assert not np.array_equal(one, two)


def test_wrong_input_is_refused():
    with pytest.raises(InputError):
        TABLE.decode(Media(content=b"a,b"), Limits())
    with pytest.raises(InputError):
        TABLE.survey(rows(), colour="red")
    with pytest.raises(InputError):
        TABLE.survey([])


def test_preview():
    assert TABLE.preview(read(age=3, town=None)) == {"cells": {"age": "3", "town": ""}}
