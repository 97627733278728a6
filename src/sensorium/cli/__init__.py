"""`sensorium VERB`: one verb for each public function, and nothing that Python cannot do. No torch until a verb runs."""

import json
import os
import sys

from sensorium.cli.options import parser
from sensorium.cli.screen import Progress
from sensorium.cli.verbs import Stopped
from sensorium.types import InputError

__all__ = ["main", "parser"]


def main(argv: list[str] | None = None) -> None:
    """Run one verb. Exit codes: 0 fine, 1 no row could be answered, 2 input that the user can mend, 130 Ctrl-C."""
    args = parser().parse_args(argv)
    args.progress = Progress(args.quiet or args.json)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that lacks a letter is no reason to fail
    try:
        args.run_verb(args)
        sys.stdout.flush()
    except InputError as error:  # a bug keeps its traceback; a mistake gets one clear message
        args.progress.close()
        if args.json:
            print(json.dumps({"error": {"wrong": error.wrong, "got": str(error.got), "fix": error.fix}}))
        print(f"sensorium: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        usable = f"{stopped} is usable as it is, and complete: `sensorium predict {stopped} DATA -o FILE`"
        print(f"sensorium: stopped; {usable}", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        args.progress.close()
        print("sensorium: stopped; the same command starts again, or continues a run", file=sys.stderr)
        sys.exit(130)
    except (
        BrokenPipeError
    ):  # the reader, `head` say, has what it wanted; keep Python's own last flush quiet too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
