"""The README and the docs run: page by page, from top to bottom, each page in a folder and a namespace of its own.

The convention of their fences:
- ```python is executed; the snippets of a page share their names.
- ```console holds `$ sensorium ...` commands, run by the real command line in this process. What stands below a command is
  what it prints, on both streams; `...` stands for anything. A command that ends with a code says so in a last line `[2]`.
- ```sh is shown and not run, but its `sensorium` lines must be ones that the command line understands.
"""

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sensorium.cli import main, parser
from sensorium.modalities import CARRIERS

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def fences(page: Path) -> list[tuple[str, str, int]]:
    """(language, content, line of the content) of every fence of a page."""
    text = page.read_text(encoding="utf-8")
    return [(m[1], m[2], text[: m.start(2)].count("\n") + 1) for m in FENCE.finditer(text)]


def commands(content: str) -> Iterator[tuple[list[str], str]]:
    """The words of each command of a console fence, and what the page says that it prints."""
    for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
        line, _, printed = part.partition("\n")
        yield shlex.split(line), printed


def check_command(words: list[str], wanted: str, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words[0] == "sensorium", (
        f"{where}: only sensorium runs in a console fence; show others in a sh fence"
    )
    capsys.readouterr()
    code = 0
    try:
        main(words[1:])
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capsys.readouterr()
    got = told.out + told.err + (f"[{code}]\n" if code else "")
    assert doctest.OutputChecker().check_output(wanted, got, LOOSE), (
        f"{where}: the page says\n{wanted}\nbut it is\n{got}"
    )


def runs(page: Path) -> bool:
    return any(language in ("python", "console") for language, _, _ in fences(page))


@pytest.mark.parametrize("page", [p for p in PAGES if runs(p)], ids=lambda p: p.name)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, carrier in list(CARRIERS.items()):  # a page may register a sensor: undone afterwards
        monkeypatch.setitem(CARRIERS, name, carrier)
    space: dict[str, object] = {"__name__": "page"}
    for language, content, line in fences(page):
        if language == "python":
            lines = "\n" * (line - 1) + content  # so that a traceback names the page's own line
            exec(compile(lines, str(page), "exec"), space)
        elif language == "console":
            for words, wanted in commands(content):
                check_command(words, wanted, f"{page.name}:{line} {shlex.join(words)}", capsys)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_shown_commands_are_understood(page):
    shown = [c for language, c, _ in fences(page) if language == "sh"]
    for line in "\n".join(shown).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["sensorium"]:
            parser().parse_args(words[1:])


def test_every_page_is_reached_from_the_readme():
    text = PAGES[0].read_text(encoding="utf-8")
    lost = [p.name for p in PAGES[1:] if f"docs/{p.name}" not in text]
    assert not lost, f"link them under `Read on`: {lost}"


def test_fences_say_what_they_are():
    bare = [f"{p.name}:{line}" for p in PAGES for language, _, line in fences(p) if not language]
    assert not bare, f"give the fence a language: {bare}"


def test_the_api_table_names_what_there_is():
    import sensorium as sm

    text = PAGES[0].read_text(encoding="utf-8")
    missing = [n for n in sm.__all__ if not n.startswith("_") and f"sm.{n}" not in text and n != "Prediction"]
    assert not missing, f"the README does not name {missing}"
    verbs = next(a for a in parser()._actions if a.choices and "fit" in a.choices)
    assert all(f"`{v}`" in text or f"sensorium {v}" in text for v in verbs.choices)
