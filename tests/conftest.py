"""What every test shares: executed shapes, one thread, a small world of ordinary files."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models are fastest so, and tests share the machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the cores to others

from jaxtyping import install_import_hook

# Shape annotations are executed while tests run; outside tests they cost nothing.
install_import_hook("sensorium", "shape_checks.checked")


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 rows over every kind of column with a fifth of its cells empty; read only."""
    from sensorium.worlds import write_everything

    return write_everything(tmp_path_factory.mktemp("everything"))
