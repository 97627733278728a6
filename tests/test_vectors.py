"""Vectors on disk."""

import numpy as np
import pytest

from sensorium.store import write_vectors
from sensorium.types import InputError


def test_a_matched_column_may_bear_the_name_of_an_argument(tmp_path):
    named = {
        n: np.full((1, 2), i, np.float32) for i, n in enumerate(["file", "allow_pickle", "args", "id", "a/b"])
    }
    write_vectors(tmp_path / "v.npz", ["x"], named, [""])
    kept = np.load(tmp_path / "v.npz", allow_pickle=False)
    assert kept["id"].tolist() == ["x"]
    for name, vectors in named.items():
        np.testing.assert_array_equal(kept["vector id" if name == "id" else name], vectors)


def test_a_file_of_another_kind_is_told(tmp_path):
    with pytest.raises(InputError, match="vectors file"):
        write_vectors(tmp_path / "v.csv", ["x"], {"a": np.ones((1, 2), np.float32)}, [""])
    assert not list(tmp_path.iterdir())
