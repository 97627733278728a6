"""Doctor: limits of control groups, decisions from measurements, the cache, and what people are told."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from sensorium import health
from sensorium.cli import main

ROOT = Path(__file__).parent.parent
QUICK = 0.002  # seconds per measurement: enough to see that it runs
SPEED = {"cpu float32": 100.0, "cpu bfloat16": 400.0, "cpu float16": 2.0, "cpu int8 linear": 0.0}
STEPS = {"1 thread": 10.0, "2 threads": 6.0, "4 threads": 5.8, "bfloat16": 30.0}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The file in which this test's measurements are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sensorium" / "machine.json"


def tell(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_tightest_control_group_counts(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    tell(own, "0::/pod/box\n")
    tell(root / "cpu.max", "max 100000")
    tell(root / "pod" / "cpu.max", "150000 100000")
    tell(root / "pod" / "box" / "cpu.max", "400000 100000")
    tell(root / "pod" / "memory.max", "2000000")
    tell(root / "pod" / "box" / "memory.max", "max")
    folders = health.control_groups(root, own)
    assert health.cpu_limit(folders) == 1.5
    assert health.memory_limit(folders) == 2_000_000


def test_control_groups_of_version_one(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    tell(own, "4:memory:/box\n3:cpu,cpuacct:/box\n")
    tell(root / "cpu" / "box" / "cpu.cfs_quota_us", "50000")
    tell(root / "cpu" / "box" / "cpu.cfs_period_us", "100000")
    tell(root / "memory" / "memory.limit_in_bytes", "9223372036854771712")
    tell(root / "memory" / "box" / "memory.limit_in_bytes", "1000")
    folders = health.control_groups(root, own)
    assert health.cpu_limit(folders) == 0.5
    assert health.memory_limit(folders) == 1000
    tell(root / "cpu" / "box" / "cpu.cfs_quota_us", "-1")
    assert health.cpu_limit(folders) is None


def test_no_control_groups_no_limits(tmp_path):
    folders = health.control_groups(tmp_path / "none", tmp_path / "nothing")
    assert health.cpu_limit(folders) is None
    assert health.memory_limit(folders) is None
    assert health.cores() >= 1


def test_decisions_follow_the_measurements():
    found = health.decide(SPEED, STEPS)
    assert (found.device, found.precision, found.threads) == ("cpu", "float32", 2)
    assert "cpu bfloat16 4.0x" in found.reason, "what is faster and unused is said"
    assert "cpu float16 50.0x" in found.reason, "what is slower is said"
    assert "int8" not in found.reason, "what is not possible is not compared"
    assert health.decide(SPEED, {"1 thread": 5.0, "2 threads": 4.9, "bfloat16": 1.0}).threads == 1


def test_a_lower_precision_must_be_worth_it(monkeypatch):
    monkeypatch.setattr(health, "TRAINED_IN", (("cpu", "float32"), ("cpu", "bfloat16"), ("cuda", "bfloat16")))
    assert health.decide(SPEED, STEPS).precision == "bfloat16"
    assert health.decide({**SPEED, "cpu bfloat16": 120.0}, STEPS).precision == "float32"
    assert health.decide({**SPEED, "cuda bfloat16": 1e5}, STEPS).device == "cuda"


def test_measurements_are_numbers_and_leave_the_threads_alone():
    before = torch.get_num_threads()
    speed, steps = health.precisions(QUICK), health.step_times(2, QUICK)
    assert torch.get_num_threads() == before
    assert speed["cpu float32"] > 0
    assert set(speed) >= set(SPEED)
    assert list(steps) == ["1 thread", "2 threads", "bfloat16"]
    assert min(steps.values()) > 0


def test_int8_is_the_product_that_it_claims_to_be():
    torch.manual_seed(0)
    assert health.int8_rate(QUICK) > 0
    rate = health.rate_of(lambda: None, lambda: None, 0.0)
    assert rate > 1e3, "one run is enough where no time is given"


def test_a_measurement_is_kept_and_used_again(cache):
    first, again = health.choose(seconds=QUICK), health.choose(seconds=QUICK)
    assert not first.cached
    assert again.cached
    assert {**asdict(again), "cached": False} == asdict(first)
    kept = json.loads(cache.read_text(encoding="utf-8"))
    assert list(kept) == [health.fingerprint()]
    assert not health.choose(fresh=True, seconds=QUICK).cached


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"%s": 3}', '{"%s": {"measured": 1e12}}', '{"%s": {"measured": 1}}']
)
def test_a_damaged_or_old_cache_does_no_harm(cache, damage):
    tell(cache, damage.replace("%s", health.fingerprint()))
    assert not health.choose(seconds=QUICK).cached
    assert health.choose(seconds=QUICK).cached


def test_measurements_of_other_machines_are_kept_beside(cache):
    tell(cache, '{"another": {"device": "cpu"}}')
    health.choose(seconds=QUICK)
    assert set(json.loads(cache.read_text(encoding="utf-8"))) == {"another", health.fingerprint()}


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert health.choose(seconds=QUICK).threads >= 1
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.chdir(tmp_path)
    assert health.choose(seconds=QUICK).threads >= 1
    assert not (tmp_path / "not").exists()


def test_the_extras_are_those_of_the_package():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    part = text.partition("[project.optional-dependencies]")[2].partition("\n[project.")[0]
    assert set(re.findall(r"^(\w+) = \[", part, re.MULTILINE)) - {"test"} == set(health.EXTRAS)
    packages = set(re.findall(r'"([\w-]+)(?:\[\w+\])?>=', part))
    brought = {m for modules, _ in health.EXTRAS.values() for m in modules} - {"ray"}  # it comes with daft
    assert {b.replace("_", "-") for b in brought} <= packages


def test_a_missing_extra_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(health.EXTRAS, "sensors", (("no_such_module",), "testing"))
    found = health.extras()["sensors"]
    assert not found["installed"]
    assert str(found["command"]).endswith(f'install "{ROOT}[sensors]"')


def test_the_decoders_that_we_promise_are_found():
    found = health.decoders()
    assert {"JPEG", "PNG", "WebP", "TIFF", "GIF", "BMP"} <= set(found["pictures"])
    assert {"WAV", "FLAC", "OGG", "MP3"} <= set(found["sound files"])
    assert {"aac", "opus", "mp3"} <= set(found["sound in videos"])
    assert {"h264", "vp9", "mpeg4", "gif"} <= set(found["video"])


def test_doctor_tells_people_and_programs_the_same(cache, capsys):
    found = health.doctor(seconds=QUICK)
    text = "\n".join(health.shown(found, width=80))
    assert max(map(len, text.split("\n"))) <= 80
    for part in (
        "Machine",
        "Packages",
        "Extras",
        "Decoders",
        "Chosen",
        torch.__version__,
        "float32",
        "1 thread",
    ):
        assert part in text, part
    assert json.loads(json.dumps(found))["chosen"]["threads"] >= 1
    assert found["cache"] == str(cache)


def test_the_verb(cache, capsys):
    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"machine", "packages", "extras", "decoders", "chosen", "cache"}
    assert found["machine"]["cores"] >= 1
