"""The command line: every verb on real runs, its exit codes, its streams, and what it says when things go wrong."""

import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sensorium as sm
from sensorium.cli import main, parser
from sensorium.cli.asked import columns_of, limits_of, split_names
from sensorium.cli.screen import Progress, duration, subset_lines
from sensorium.worlds import write_digits

ROOT = Path(__file__).parent.parent
VERBS = {"demo", "fit", "predict", "evaluate", "report", "doctor", "version"}


def write(path: Path, rows: int = 48, **more: list) -> Path:
    """A table whose answer is told by a number and by words."""
    y = ["ja" if i % 2 else "né" for i in range(rows)]
    split = ["train" if i < rows // 2 else "valid" if i < 3 * rows // 4 else "test" for i in range(rows)]
    noise = [str((7 * i) % 11) for i in range(rows)]
    columns = {
        "id": [f"r{i}" for i in range(rows)], "split": split, "level": [f"{i % 2 + 0.01 * i:.2f}" for i in range(rows)],
        "note": ["" if i % 5 == 0 else f"it is {v} today, {i}" for i, v in enumerate(y)], "noise": noise, "y": y, **more,
    }  # fmt: skip
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def asked(folder: Path, *, epochs: int = 2) -> list[str]:
    """A fit of `t.csv` in `folder` on its number and its words."""
    inputs = ["--target", "y", "--inputs", "level,note", "--column", "note=text", "--epochs", str(epochs)]
    return ["fit", str(folder / "t.csv"), *inputs, "-o", str(folder / "run")]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with `t.csv` and a finished `run`."""
    folder = tmp_path_factory.mktemp("cli")
    write(folder / "t.csv")
    main([*asked(folder), "--quiet"])
    return folder


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **more}


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "sensorium", *args]


def refused(args: list[str], capsys) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    told = capsys.readouterr()
    return told.out, told.err


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_verb_has_a_help_that_says_something(capsys):
    for verb in sorted(VERBS):
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert f"usage: sensorium {verb}" in text
        assert "--json" in text
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert "exit codes: 0" in text


def test_version(capsys):
    main(["version"])
    assert capsys.readouterr().out.strip() == sm.__version__
    told = subprocess.run(command("--version"), env=environment(), capture_output=True, text=True, check=True)
    assert told.stdout.strip() == sm.__version__


def test_what_was_asked_reaches_the_model(tmp_path, capsys):
    table = write(tmp_path / "t.csv", other=["a", "b", "a", "c"] * 12)
    main([
        "fit", str(table), "--target", "y", "--inputs", "level,note,noise", "--also", "other", "--column", "noise=category",
        "--column", "note=text:words=400", "--fusion", "late", "--seed", "3",
        "--epochs", "1", "--group", "noise", "--size", "nano", "--limit", "pixels=1e9", "--json", "-o", str(tmp_path / "run"),
    ])  # fmt: skip
    told = capsys.readouterr()
    assert told.err == "", "--json keeps quiet"
    metrics = json.loads(told.out)
    assert told.out.count("\n") == 1
    assert metrics["task"]["also"] == ["other"]
    assert metrics["fusion"]["chosen"] == "late"
    said = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))["mark"]["asked"]
    assert said["seed"] == 3
    assert said["columns"] == {"noise": "category", "note": "text:words=400"}
    assert said["inputs"] == ["level", "note", "noise"]
    assert said["group"] == "noise"


def test_fit_tells_people_what_it_did_and_is_not_repeated(home, capsys):
    before = (home / "run" / "model.safetensors").read_bytes()
    main(asked(home))
    told = capsys.readouterr()
    for part in (
        "inputs: ",
        "note (text, 79%)",
        "target: y (category)",
        "accuracy",
        "fusion: ",
        "report.html",
    ):
        assert part in told.out, part
    assert "already complete" in told.err
    assert (home / "run" / "model.safetensors").read_bytes() == before


def test_predict_writes_one_row_per_row_and_counts_the_errors(home, tmp_path, capsys):
    table = write(tmp_path / "new.csv", note=[""] * 48, level=["" if i in (3, 7) else "1" for i in range(48)])
    main(["predict", str(home / "run"), str(table), "-o", str(tmp_path / "p.csv"), "--quiet"])
    told = capsys.readouterr()
    assert "48 rows, 2 of them with an error" in told.out
    assert "r3: the row has none of the modalities" in told.out
    found = rows_of(tmp_path / "p.csv")
    assert [r["id"] for r in found] == [f"r{i}" for i in range(48)]
    assert [i for i, r in enumerate(found) if r["error"]] == [3, 7]
    assert [i for i, r in enumerate(found) if not r["prediction"]] == [3, 7]
    main(
        [
            "predict",
            str(home / "run"),
            str(table),
            "-o",
            str(tmp_path / "p.jsonl"),
            "--json",
            "--split",
            "test",
        ]
    )
    assert json.loads(capsys.readouterr().out) == {"rows": 12, "errors": 0, "file": str(tmp_path / "p.jsonl")}


def test_predict_fails_where_no_row_could_be_answered(home, tmp_path, capsys):
    table = write(tmp_path / "empty.csv", note=[""] * 48, level=[""] * 48)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(home / "run"), str(table), "-o", str(tmp_path / "p.csv")])
    assert ended.value.code == 1
    assert "48 rows, 48 of them" in capsys.readouterr().out
    assert len(rows_of(tmp_path / "p.csv")) == 48


def test_evaluate_takes_the_test_rows_unless_told_otherwise(home, capsys):
    run, table = str(home / "run"), str(home / "t.csv")
    main(["evaluate", run, table, "--json"])
    assert json.loads(capsys.readouterr().out)["rows"] == 12
    main(["evaluate", run, table, "--json", "--split", "train"])
    assert json.loads(capsys.readouterr().out)["rows"] == 24
    main(["evaluate", run, table])
    told = capsys.readouterr().out
    assert "split 'test'" in told
    assert "note + table" in told or "table + note" in told


def test_report_is_written_again(home, capsys):
    path = home / "run" / "report.html"
    before = path.read_bytes()
    path.unlink()
    main(["report", str(home / "run")])
    assert capsys.readouterr().out.strip() == str(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["fit", "none.csv", "--target", "y", "-o", "run"], "no such file"),
        (["fit", "t.csv", "--target", "nothing", "-o", "new"], "nothing"),
        (["fit", "t.csv", "--target", "y", "-o", "new", "--limit", "pixel=1"], "no such limit"),
        (["fit", "t.csv", "--target", "y", "-o", "new", "--limit", "pixels=inf"], "a limit is a number"),
        (["fit", "t.csv", "--target", "y", "-o", "new", "--limit", "pixels=-3"], "a limit is a number"),
        (["fit", "t.csv", "--target", "y", "-o", "new", "--column", "note"], "a column needs a kind"),
        (["fit", "t.csv", "--target", "y", "-o", "new", "--column", "note=smell"], "no such kind"),
        (["fit", "t.csv", "--target", "y", "-o", "new", "--epochs", "0"], "above zero"),
        (["fit", "t.csv", "--target", "y", "-o", "run", "--epochs", "9"], "another run"),
        (["predict", "t.csv", "t.csv", "-o", "p.csv"], "not a run"),
        (["predict", "nowhere", "none.csv", "-o", "p.txt"], "predictions file"),
        (["predict", "run", "t.csv", "-o", "p.csv", "--split", "moon"], "split"),
        (["evaluate", "nowhere", "t.csv"], "not a run"),
        (["report", "nowhere"], "run"),
    ],
)
def test_mistakes_end_with_two_and_one_clear_message(home, monkeypatch, capsys, args, part):
    monkeypatch.chdir(home)
    out, err = refused([*args, *(["--quiet"] if "--quiet" not in args else [])], capsys)
    assert out == ""
    assert err.startswith("sensorium: ")
    assert part in err
    assert "fix: " in err
    assert "Traceback" not in err
    out, err = refused([*args, "--json"], capsys)
    told = json.loads(out)["error"]
    assert part in told["wrong"] + told["got"]
    assert set(told) == {"wrong", "got", "fix"}


def test_minutes_and_epochs_exclude_each_other(capsys):
    _, err = refused(["fit", "t.csv", "--target", "y", "-o", "r", "--minutes", "1", "--epochs", "1"], capsys)
    assert "not allowed with" in err


def test_ctrl_c_leaves_a_usable_run(tmp_path):
    table, run = write(tmp_path / "t.csv"), tmp_path / "run"
    ask = command(*asked(tmp_path, epochs=100_000))
    fit = subprocess.Popen(
        ask, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a shell makes its background jobs deaf to Ctrl-C, and so their children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for _ in range(1200):
        if (run / "history.jsonl").exists() or fit.poll() is not None:
            break
        time.sleep(0.05)
    fit.send_signal(signal.SIGINT)
    out, err = fit.communicate(timeout=60)
    assert fit.returncode == 130, err
    assert "stopped by the user" in out
    assert f"sensorium: stopped; {run} is usable" in err
    assert "Traceback" not in err
    main(["predict", str(run), str(table), "-o", str(tmp_path / "p.csv"), "--quiet"])
    assert all(r["prediction"] for r in rows_of(tmp_path / "p.csv"))


def test_a_reader_that_leaves_is_no_error(home):
    reading, writing = os.pipe()
    os.close(reading)
    told = subprocess.run(
        command("evaluate", str(home / "run"), str(home / "t.csv"), "--quiet"),
        env=environment(), stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_terminal_without_our_letters_is_no_error(home):
    told = subprocess.run(
        command("evaluate", str(home / "run"), str(home / "t.csv"), "--json"),
        env=environment(PYTHONIOENCODING="ascii"), capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout.decode("ascii"))["confusion"]["classes"] == ["ja", "né"]


def test_the_demo_tells_its_story(tmp_path, capsys):
    write_digits(tmp_path / "world", rows=80, engine="builtin")
    main(["demo", "-o", str(tmp_path), "--target", "sum", "--minutes", "0.02", "--quiet"])
    told = capsys.readouterr().out
    assert "synergy" in told
    assert "image + audio" not in told, "the table is told in words"
    assert not (tmp_path / "digit").exists()
    assert (tmp_path / "sum" / "report.html").exists()
    lines = told.rstrip().split("\n")
    assert 8 <= len(lines) <= 14
    tries = {line.split()[1]: line.split()[1:] for line in lines[-4:]}
    assert list(tries) == ["evaluate", "predict", "explain", "fit"]
    for words in tries.values():
        parser().parse_args(words)
    main(tries["predict"])
    assert len(rows_of(tmp_path / "predictions.csv")) == 16


def test_progress_is_plain_lines_where_it_is_no_terminal(capsys):
    show = Progress(quiet=False)
    for done in (0.0, 0.3, 0.6, 1.0):
        show("read", done, f"{done:.0%} of it")
    show("train", 0.5, "loss 1.0")
    show.close()
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert [line.split()[0] for line in lines] == ["read", "read", "train"], (
        "at most one line in twenty seconds"
    )
    assert "[########################]" in lines[1]
    assert show.stages == {"read", "train"}
    Progress(quiet=True)("read", 0.5, "")
    assert capsys.readouterr().err == ""


def test_the_time_left_of_a_run_that_goes_on_counts_from_where_it_was(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("sensorium.cli.screen.time.monotonic", lambda: now[0])
    show = Progress(quiet=False)
    show("train", 0.5, "")
    now[0] = 130.0
    show("train", 0.75, "")
    assert "30 s left" in capsys.readouterr().err, "a quarter took 30 s, and a quarter is left"


def test_a_run_that_was_killed_answers_nothing(home, tmp_path, capsys):
    shutil.copytree(home / "run", tmp_path / "run")
    path = tmp_path / "run" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "complete": False}))
    for verb, more in (("predict", ["-o", str(tmp_path / "p.csv")]), ("evaluate", [])):
        out, err = refused([verb, str(tmp_path / "run"), str(home / "t.csv"), *more], capsys)
        assert out == ""
        assert "the run is not finished" in err
    assert not (tmp_path / "p.csv").exists()


def test_figures_on_the_training_rows_are_said_to_flatter(home, capsys):
    run, table = str(home / "run"), str(home / "t.csv")
    main(["evaluate", run, table, "--split", "train", "--quiet"])
    assert "trained on: the figures flatter" in capsys.readouterr().out
    main(["evaluate", run, table, "--quiet"])
    assert "flatter" not in capsys.readouterr().out


def test_of_many_subsets_the_telling_ones_are_shown():
    names = [f"sensor {i}" for i in range(5)]
    some = [s for k in range(1, 6) for s in itertools.combinations(names, k)]
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    lines = subset_lines({"subsets": [{"modalities": list(s), "rows": 1, "score": score} for s in some]})
    assert len(lines) == 5 + 5 + 1 + 1
    assert lines[0].endswith("1 row")
    assert any("all but sensor 2 " in line for line in lines)
    assert "20 subsets in between" in lines[-1]


def test_small_words():
    assert split_names(" a, b ,,c") == ["a", "b", "c"]
    assert split_names(None) is None
    assert limits_of(["pixels=1e9", "frames=5"]) == sm.Limits(pixels=10**9, frames=5)
    assert columns_of(["ecg=series:rate=360,whole=no", "y = number"]) == {
        "ecg": "series:rate=360,whole=no",
        "y": "number",
    }
    assert [duration(s) for s in (4.4, 89, 185)] == ["4 s", "89 s", "3 min 05 s"]
