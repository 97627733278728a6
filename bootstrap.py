"""Make the environment that a command needs, then run it.

    python3 bootstrap.py --extras demo -- sensorium demo

Standard library only. An installed torch of 2.6 or later is kept; else, with an NVIDIA driver in sight, plain
torch is taken, and without one, on Linux, the CPU build, so that such a machine never receives a CUDA
package. Nothing outside the environment's folder is touched.

Read from the environment: PIP_FIND_LINKS, a folder of wheels (pip's own setting of that name counts too);
SENSORIUM_TORCH_INDEX, an index that has the CPU builds of torch, tried where they are found nowhere else.
"""

from __future__ import annotations  # so that an older Python gets as far as the message that it is too old

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH, OLDEST_TORCH, OLDEST_PYTHON = "2.13.0", (2, 6), (3, 10)
WINDOWS = os.name == "nt"

# Run inside the environment: every distribution it holds, as `name==version` lines.
LIST = (
    "import importlib.metadata as m; [print(d.name + '==' + d.version) for d in m.distributions() if d.name]"
)


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"bootstrap: {text}", flush=True)


def has_driver() -> bool:
    """Whether an NVIDIA driver is in sight."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()


def torch_for(system: str, machine: str, driver: bool) -> str:
    """Name the torch for a machine. A local version, `+cpu`, can never be satisfied by a CUDA build."""
    cpu_only = system == "Linux" and machine in ("x86_64", "aarch64") and not driver
    return f"torch=={TORCH}+cpu" if cpu_only else f"torch=={TORCH}"


def python_in(venv: Path) -> Path:
    """Where the interpreter of an environment stands."""
    return venv / ("Scripts/python.exe" if WINDOWS else "bin/python")


def installed(python: Path) -> dict[str, str]:
    """Name and version of every distribution in an environment, in lower case."""
    listed = subprocess.run([str(python), "-c", LIST], capture_output=True, text=True, check=True).stdout
    return dict(line.lower().split("==", 1) for line in listed.split())


def kept_torch(held: dict[str, str]) -> str | None:
    """The version of an installed torch that is new enough, else None."""
    version = held.get("torch", "0.0")
    major_minor = tuple(int(p) for p in version.split("+")[0].split(".")[:2] if p.isdigit())
    return version if major_minor >= OLDEST_TORCH else None


def installer(python: Path) -> tuple[list[str], dict[str, str]]:
    """The command that installs into an environment, and its variables: uv where it is, else pip.

    uv does not read pip's folder of wheels, so it is handed on.
    """
    env = dict(os.environ)
    uv = shutil.which("uv")
    if uv is None:
        return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"], env
    ask = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    links = (
        env.get("PIP_FIND_LINKS") or subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    )
    if links.split():
        env.setdefault("UV_FIND_LINKS", ",".join(links.split()))
    return [uv, "pip", "install", "--quiet", "--python", str(python)], env


def install(python: Path, *what: str) -> str:
    """Install; return "" or, where it failed, the end of what the installer said."""
    command, env = installer(python)
    done = subprocess.run([*command, *what], env=env, capture_output=True, text=True, check=False)
    return (done.stderr.strip()[-2000:] or f"exit {done.returncode}") if done.returncode else ""


def install_torch(python: Path, wanted: str) -> None:
    """Install torch, or end with a message that says what to do."""
    say(f"installing {wanted}")
    failed = install(python, wanted)
    index = os.environ.get("SENSORIUM_TORCH_INDEX")
    if failed and index:
        failed = install(python, "--extra-index-url", index, wanted)
    if failed:
        sys.exit(
            f"bootstrap: {wanted} could not be installed.\n{failed}\n"
            "  fix: set SENSORIUM_TORCH_INDEX to PyTorch's index of CPU builds (its website names it),\n"
            "       or PIP_FIND_LINKS to a folder with the wheel, or install your own torch into it"
        )


def make_venv(venv: Path) -> None:
    """Make an environment; one whose interpreter has gone is made anew."""
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        sys.exit(f"bootstrap: {venv} is there and is no environment.\n  fix: name another folder with --venv")
    say(f"making {venv}")
    uv = shutil.which("uv")
    clear = ["--clear"] if venv.exists() else []
    maker = [uv, "venv", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    if subprocess.run([*maker, *clear, str(venv)], check=False).returncode:
        sys.exit(
            "bootstrap: no environment could be made.\n  fix: install your system's package for Python's venv"
        )


def install_project(python: Path, venv: Path, extras: str, torch: str) -> None:
    """Install the checkout, editable, beside the torch that is there."""
    say(f"installing sensorium{f'[{extras}]' if extras else ''}")
    lines = (HERE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = venv / "constraints.txt"
    others = [line for line in lines if not line.startswith("torch")]
    pins.write_text("\n".join([*others, f"torch=={torch}", ""]), encoding="utf-8")
    failed = install(python, "-c", str(pins), "-e", f"{HERE}[{extras}]" if extras else str(HERE))
    if failed:
        sys.exit(f"bootstrap: the installation failed.\n{failed}")


def cuda_packages(held: dict[str, str]) -> list[str]:
    """What a CPU build of torch has no use for; empty where torch is no CPU build."""
    return (
        sorted(n for n in held if n.startswith("nvidia-")) if held.get("torch", "").endswith("+cpu") else []
    )


def stamp_of(extras: str, here: Path = HERE) -> str:
    """A mark that changes whenever there may be something to install."""
    parts = [(here / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([*parts, str(here).encode(), extras.encode()])).hexdigest()


def prepare(venv: Path, extras: str) -> None:
    """Make or mend the environment; nothing is started where its stamp says that all is there."""
    python, mark = python_in(venv), venv / f"stamp-{extras.replace(',', '-') or 'core'}"
    if python.exists() and mark.exists() and mark.read_text(encoding="utf-8") == stamp_of(extras):
        return
    if not python.exists():
        make_venv(venv)
    if not kept_torch(installed(python)):
        install_torch(python, torch_for(platform.system(), platform.machine(), has_driver()))
    install_project(python, venv, extras, installed(python)["torch"])
    unwanted = cuda_packages(installed(python))
    assert not unwanted, f"a CPU install received {', '.join(unwanted)}"
    mark.write_text(stamp_of(extras), encoding="utf-8")


def enter(venv: Path, command: list[str]) -> None:
    """Become the command, with the environment's programs first on the path."""
    programs = python_in(venv).parent
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(venv)}
    program = shutil.which(command[0], path=path)
    if program is None:
        sys.exit(f"bootstrap: no such command: {command[0]}")
    if WINDOWS:
        sys.exit(subprocess.run([program, *command[1:]], env=env, check=False).returncode)
    os.execve(program, [program, *command[1:]], env)


def main() -> None:
    """Prepare, then run the command."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"bootstrap: Python 3.10 or later is needed; this is {platform.python_version()}")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--extras", default="", help="extras to install, such as demo,sensors")
    parser.add_argument(
        "--venv", type=Path, default=HERE / ".venv", help="the environment (default: .venv here)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command to run")
    args = parser.parse_args()
    extras = ",".join(sorted({e.strip() for e in args.extras.split(",") if e.strip()}))
    prepare(args.venv.absolute(), extras)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if command:
        enter(args.venv.absolute(), command)


if __name__ == "__main__":
    main()
