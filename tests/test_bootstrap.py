"""The bootstrap: which torch for which machine, nothing done twice, clear messages. No network."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bare(tmp_path, bootstrap):
    """An environment without any package, not even pip."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=not bootstrap.WINDOWS)
    return tmp_path / "venv"


def pretend(environment: Path, name: str, version: str) -> None:
    """Write what an installer writes down about a distribution."""
    site = next(environment.glob("[lL]ib*/**/site-packages"))
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("system", "machine", "driver", "wanted"),
    [
        ("Linux", "x86_64", False, "+cpu"),
        ("Linux", "aarch64", False, "+cpu"),
        ("Linux", "x86_64", True, ""),
        ("Linux", "ppc64le", False, ""),
        ("Darwin", "arm64", False, ""),
        ("Windows", "AMD64", False, ""),
    ],
)
def test_torch_for_a_machine(bootstrap, system, machine, driver, wanted):
    assert bootstrap.torch_for(system, machine, driver) == f"torch=={bootstrap.TORCH}{wanted}"


def test_the_torch_is_the_one_of_the_constraints(bootstrap):
    assert f"torch=={bootstrap.TORCH}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("2.6.0", True),
        ("2.13.0+cpu", True),
        ("2.7.1+cu126", True),
        ("3.0.0", True),
        ("2.5.1", False),
        (None, False),
    ],
)
def test_an_installed_torch_is_kept_where_new_enough(bootstrap, bare, version, kept):
    if version:
        pretend(bare, "torch", version)
    held = bootstrap.installed(bootstrap.python_in(bare))
    assert bootstrap.kept_torch(held) == (version if kept else None)


def test_cuda_packages_beside_a_cpu_torch_are_found(bootstrap, bare):
    pretend(bare, "nvidia-cublas-cu12", "12.1")
    python = bootstrap.python_in(bare)
    assert bootstrap.cuda_packages(bootstrap.installed(python)) == []
    pretend(bare, "torch", "2.13.0+cpu")
    assert bootstrap.cuda_packages(bootstrap.installed(python)) == ["nvidia-cublas-cu12"]


def checkout(folder: Path) -> Path:
    """A copy of what the bootstrap reads."""
    folder.mkdir()
    for name in ("bootstrap.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_nothing_is_done_twice(bootstrap, bare, tmp_path):
    copy = checkout(tmp_path / "copy")
    (bare / "stamp-demo-test").write_text(bootstrap.stamp_of("demo,test", copy), encoding="utf-8")
    code = "import os, sys; print(sys.prefix); print(os.environ['VIRTUAL_ENV']); sys.exit(7)"
    call = [sys.executable, str(copy / "bootstrap.py"), "--venv", str(bare), "--extras", "test, demo", "--"]
    began = time.monotonic()
    told = subprocess.run(
        [*call, "python", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert time.monotonic() - began < 2
    assert told.returncode == 7, told.stderr
    assert [Path(line).resolve() for line in told.stdout.split()] == [bare.resolve()] * 2
    lost = subprocess.run(
        [*call, "no-such-command"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert "no such command: no-such-command" in lost.stderr


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_the_stamp_follows_what_is_to_be_installed(bootstrap, tmp_path, name):
    copy = checkout(tmp_path / "copy")
    before = bootstrap.stamp_of("demo", copy)
    assert before == bootstrap.stamp_of("demo", copy)
    assert before != bootstrap.stamp_of("test", copy)
    (copy / name).write_text((copy / name).read_text(encoding="utf-8") + "\n# new\n", encoding="utf-8")
    assert before != bootstrap.stamp_of("demo", copy)


def test_a_folder_that_is_no_environment_is_left_alone(bootstrap, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(SystemExit, match="is no environment"):
        bootstrap.make_venv(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_an_environment_whose_python_has_gone_is_made_anew(bootstrap, bare):
    python = bootstrap.python_in(bare)
    for program in python.parent.glob("python*"):
        program.unlink()
    bootstrap.make_venv(bare)
    assert "pip" in bootstrap.installed(python) or shutil.which("uv")


def test_a_torch_that_cannot_be_found_says_what_to_set(bootstrap, bare, tmp_path, monkeypatch):
    for name in ("SENSORIUM_TORCH_INDEX", "PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SystemExit, match="SENSORIUM_TORCH_INDEX"):
        bootstrap.install_torch(bootstrap.python_in(bare), f"torch=={bootstrap.TORCH}+cpu")


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for uv")
def test_uv_is_handed_pip_s_folder_of_wheels(bootstrap, bare, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" "$UV_FIND_LINKS" > {tmp_path}/said\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    assert bootstrap.install(bootstrap.python_in(bare), "torch") == ""
    said = (tmp_path / "said").read_text(encoding="utf-8").split()
    assert said[:2] == ["pip", "install"]
    assert said[-2:] == ["torch", "/wheels,/more"]


def test_it_reads_on_an_old_python(bootstrap):
    """Older interpreters must get as far as the message that they are too old."""
    import ast

    ast.parse((ROOT / "bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 7))
