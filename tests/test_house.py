"""The house stays in order: names, sizes, floors, light imports. Each message says the cure."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "sensorium"
FILES = sorted(SOURCE.rglob("*.py"))
OTHERS = sorted(p for folder in ("tests", "benchmarks") for p in (ROOT / folder).rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
HEAVY = (
    "torch",
    "sklearn",
    "pyarrow",
    "av",
    "scipy",
    "pandas",
    "soundfile",
    "soxr",
    "tokenizers",
    "transformers",
)

# Host names of package registries, put together here so that this file may be searched too.
REGISTRIES = [f"{a}.{b}" for a, b in (("pypi", "org"), ("pythonhosted", "org"), ("download.pytorch", "org"))]
REGISTRIES += [
    f"{a}.{b}" for a, b in (("anaconda", "org"), ("conda-forge", "org"), ("registry.npmjs", "org"))
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, FUNCTIONS)]


def texts() -> list[Path]:
    """Everything that a reader of the repository meets."""
    kinds = {".py", ".md", ".toml", ".txt", ".sh", ".cfg", ".yml", ".yaml", ".html", ""}
    hidden = {".ci"}
    found = [p for p in ROOT.rglob("*") if p.suffix in kinds and p.is_file()]
    outside = re.compile(r"(^|/)(\.(?!ci/)|build/|dist/|__pycache__|sensorium-demo/|[^/]*\.egg-info/)")
    return [p for p in found if not outside.search(name_of(p)) or p.parts[len(ROOT.parts)] in hidden]


def test_public_names():
    import sensorium

    assert set(sensorium.__all__) == {
        "InputError",
        "Limits",
        "Manner",
        "Matcher",
        "Model",
        "Prediction",
        "__version__",
        "load",
        "read",
    }, "the documented names changed: change README.md and this set in the same step"
    for name in sensorium.__all__:
        assert getattr(sensorium, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sensorium.nonsense
    assert (SOURCE / "py.typed").exists()


def test_the_version_is_the_package_s():
    import sensorium

    told = re.search(
        r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert told is not None
    assert told.group(1) == sensorium.__version__


@pytest.mark.parametrize("path", [*FILES, *OTHERS], ids=name_of)
def test_files_stay_short(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 500, f"{name_of(path)} has {lines} lines: give the room walls (make it a folder)"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_stay_short(path):
    for node in functions(path):
        size = node.end_lineno - node.lineno + 1
        assert size <= 60, f"{name_of(path)}:{node.lineno} {node.name} has {size} lines: name its parts"


def public(body: list[ast.stmt]) -> list[ast.AST]:
    """Functions, methods and classes that a reader may call, without what is nested in functions."""
    found: list[ast.AST] = []
    for node in body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found += public(node.body)
    return found


def overrides(node: ast.AST) -> bool:
    """`forward` of a torch module is described by its class and its shapes."""
    return isinstance(node, FUNCTIONS) and node.name == "forward"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_functions_say_what_they_do(path):
    bare = [n.name for n in public(tree(path).body) if ast.get_docstring(n) is None and not overrides(n)]
    assert not bare, f"{name_of(path)}: give a docstring (what, shapes, units, errors) to {', '.join(bare)}"


def passed_on(handler: ast.ExceptHandler) -> bool:
    """Whether a handler raises again, or hands its error to the thread that waits for it."""
    inside = list(ast.walk(handler))
    calls = [n for n in inside if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    handed = [n for n in calls if n.func.attr in ("put", "set_exception") and len(n.args) == 1]
    return any(isinstance(n, ast.Raise) for n in inside) or any(
        ast.unparse(n.args[0]) == handler.name for n in handed
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_dangerous(path):
    for node in ast.walk(tree(path)):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {a.name for a in node.names} | {getattr(node, "module", None)}
            bad = {
                n
                for n in names
                if n and n.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "marshal")
            }
            assert not bad, f"{where} imports {bad}: write safetensors, JSON or Arrow"
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert passed_on(node) or caught not in ("everything", "Exception", "BaseException"), (
                f"{where} hides every error: name the ones that can happen, or raise again"
            )
        if isinstance(node, ast.Call):
            called, said = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert called not in ("eval", "exec", "torch.load", "torch.save", "os.system"), (
                f"{where} calls {called}"
            )
            assert said.get("shell") != "True", f"{where} uses a shell: pass a list of arguments"
            assert said.get("allow_pickle") != "True", f"{where} unpacks pickles"


def test_no_drawer_for_everything():
    loose = [
        name_of(p) for p in SOURCE.rglob("*") if p.stem in ("utils", "util", "helpers", "common", "misc")
    ]
    assert not loose, f"name the room by what is in it: {loose}"


LIGHT = """
import sys, warnings
warnings.simplefilter("error")
import {module}
print(*[m for m in {heavy} if m in sys.modules])
"""


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("sensorium", (*HEAVY, "numpy", "PIL")),
        ("sensorium.types", HEAVY),
        ("sensorium.cli", HEAVY),
        ("sensorium.modalities", HEAVY),
        ("sensorium.store", HEAVY),
        ("sensorium.worlds", HEAVY),
        ("sensorium.tasks", HEAVY),
    ],
)
def test_imports_stay_light(module, heavy):
    code = LIGHT.format(module=module, heavy=heavy)
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert told.returncode == 0, told.stderr
    assert not told.stdout.split(), f"import {module} loads {told.stdout.strip()}: import it where it is used"


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")]),
    }


@pytest.mark.parametrize("command", [["-m", "sensorium", "--help"], ["-m", "sensorium", "fit", "--help"]])
def test_help_needs_no_torch(command):
    call = [sys.executable, "-X", "importtime", *command]
    told = subprocess.run(call, capture_output=True, text=True, env=environment(), check=False)
    assert told.returncode == 0, told.stderr[-2000:]
    assert "usage: sensorium" in told.stdout
    loaded = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if "import time:" in line}
    assert "sensorium.cli" in loaded
    assert not loaded & set(HEAVY)


def test_imports_go_down():
    """The floors of pyproject.toml; a new room fails until it names its floor there."""
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-1000:]


def test_docs_name_no_registry():
    found = [
        f"{name_of(path)} names {host}"
        for path in texts()
        for host in REGISTRIES
        if host in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found, f"say the package's name and let the user's own settings find it: {found}"


def test_docs_name_no_missing_file():
    """A link or a `path` in the documentation leads somewhere."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    lost = [f"{name_of(page)} -> {link}" for page, link in links if not (page.parent / link).exists()]
    assert not lost, lost
