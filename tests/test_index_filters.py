"""The language of conditions on metadata."""

import numpy as np
import pyarrow as pa
import pytest

from sensorium.store.index import Filter
from sensorium.types import InputError

TABLE = pa.table(
    {
        "price": [1, 5, None, 20],
        "kind": ["tea", None, "kettle", "o'clock"],
        "sold": [True, False, None, False],
        "a b": [0.5, 1.5, 2.5, None],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("price < 5", [0]), ("price <= 5", [0, 1]), ("price > 5.5", [3]), ("price >= -1e0", [0, 1, 3]),
        ("price = 5", [1]), ("price == 5", [1]), ("price != 5", [0, 3]), ("price <> 5", [0, 3]),
        ("price in (5, 20, 7)", [1, 3]), ("price in (5.0, 0.5)", [1]), ("price not in (5)", [0, 3]),
        ("kind = 'tea'", [0]), ('kind in ("tea", \'kettle\')', [0, 2]), ("kind = 'o''clock'", [3]), (r"kind = 'o\'clock'", [3]),
        ("sold", [0]), ("not sold", [1, 3]), ("sold = false", [1, 3]), ("`a b` > 1", [1, 2]),
        ("price is null", [2]), ("price is not null", [0, 1, 3]), ("not price is null", [0, 1, 3]),
        ("price < 5 or kind = 'kettle' and not sold", [0]), ("(price < 5 or kind = 'kettle') and sold is null", [2]),
        ("not (price = 5 or price = 1)", [3]), ("PRICE_ = 1 or price = 1", None), ("kind < 'l'", [2]),
        ("price > 2 AND NOT kind IN ('tea')", [3]), ("kind > 'a' or price = 5", [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_filters(text, rows):
    if rows is None:
        with pytest.raises(InputError, match="no such column"):
            Filter.parse(text).mask(TABLE)
        return
    assert np.flatnonzero(Filter.parse(text).mask(TABLE)).tolist() == rows


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 1), ("price", None), ("price <", 8), ("price < 5 and", 14), ("price < 5)", 10), ("(price < 5", 11),
        ("price in 5", 10), ("price in ()", 11), ("price in (5", 12), ("5 < price", 1), ("price < 5 price", 11),
        ("price ~ 5", 7), ("kind = 'tea", 8), ("__import__('os')", 11), ("price = kind", 9), ("not", 4),
        ("price in (5, 'a')", None), ("price = 'a'", None), ("kind = 5", None), ("sold = 1", None), ("is null", 1),
        ("not " * 400 + "sold", 201),
    ],
)  # fmt: skip
def test_conditions_that_cannot_be_read_say_where(text, at):
    with pytest.raises(InputError) as told:
        Filter.parse(text).mask(TABLE)
    if at is not None:
        assert f"at character {at} " in told.value.wrong
