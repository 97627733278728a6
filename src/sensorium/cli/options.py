"""The options of every verb, and their help."""

import argparse
from collections.abc import Callable
from dataclasses import fields

from sensorium import __version__
from sensorium.cli.aligning import align
from sensorium.cli.finding import CARRIERS, embed, index, search
from sensorium.cli.verbs import (
    TARGETS,
    demo,
    doctor,
    evaluate,
    explain,
    fit,
    interactions,
    predict,
    report,
    version,
)
from sensorium.cli.writing import generate
from sensorium.types import Limits

SIZES = ("nano", "small", "base")
BALANCES = ("guarded", "uniform", "joint", "pareto", "blend")
LOSSES = ("softmax", "sigmoid")
FUSIONS = ("auto", "early", "mid", "late", "tensor")
RAW = argparse.RawDescriptionHelpFormatter  # the lines of an epilog stay lines
EPILOG = """\
start here:
  sensorium demo                                           five minutes, nothing to prepare
  sensorium fit TABLE.csv --target COLUMN -o RUN           then open RUN/report.html
  sensorium predict RUN NEW.csv -o predictions.csv
  sensorium fit TABLE.csv --match photo,caption -o RUN     then `index` and `search`
  sensorium VERB --help

exit codes: 0 fine; 1 no row could be answered; 2 a mistake that you can mend, told on stderr and with --json
on stdout as well; 130 Ctrl-C."""
EXAMPLES = {
    "demo": "sensorium demo --minutes 2",
    "fit": """sensorium fit reviews.csv --target stars -o run
  sensorium fit beats.csv --target label --column heart=series:rate=360 --group patient --minutes 20 -o run

Ctrl-C ends the training and leaves a finished run; after a crash the same command goes on where it was.
Kinds for --column: text image audio video series points number category, or ignore; for the target category,
labels (several in a cell, a|b), number or text. A target that is text is written; behind `text:`, with commas between:
decoder=classic (additive attention and a gated recurrent unit instead of a transformer), open=yes (written freely, though its
texts recur) or open=no (one of the texts of training), words=N (size of the vocabulary), longest=N (tokens of a text),
case=no (lower case only).
  sensorium fit photos.csv --target caption --column caption=text:decoder=classic,longest=40 -o run""",
    "predict": "sensorium predict run new.csv -o predictions.csv",
    "evaluate": """sensorium evaluate run reviews.csv

Without --split the rows marked test are measured where the table has some, else all rows.""",
    "interactions": """sensorium interactions run reviews.csv

Measures rows that were not trained on: those marked test where the table has some. Adds the picture to RUN/report.html.""",
    "explain": """sensorium explain run reviews.csv --row 7

Writes a page that shows it on the picture, the sound, the text: RUN/explain-7.html.""",
    "align": """sensorium align run catalog.csv --row 7

Which word belongs to which part of the picture, when each word is spoken, which moment of one recording belongs to which of
another: a page, RUN/align-7.html.""",
    "embed": "sensorium embed run catalog.csv -o vectors.npz",
    "index": "sensorium index run catalog.csv -o catalog",
    "search": """sensorium search catalog --text "a red kettle" -k 5
  sensorium search catalog --image photo.jpg --text "in red" --where "price < 20"
  sensorium search catalog queries.csv --query caption -k 10 -o ranks.csv""",
    "generate": """sensorium generate run --image photo.jpg
  sensorium generate run --image photo.jpg --text "what is on the left?" --stream
  sensorium generate run photos.csv --row 7 -o page.html

Each --CARRIER goes to the first column of that kind; --ask COL=VALUE names another one. What is not given is absent.
The page shows where the model looked for each word: RUN/generate.html, for a row of a table RUN/generate-N.html.""",
    "report": "sensorium report run",
    "doctor": "sensorium doctor --json",
}


def _verb(verbs, name: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    """Add a verb with the options that all verbs have."""
    told = str(run.__doc__)
    example = f"example:\n  {EXAMPLES[name]}" if name in EXAMPLES else None
    brief = told.partition(":")[0].rstrip(".") if "sensorium" in told else told.rstrip(".")
    verb = verbs.add_parser(
        name, help=brief[0].lower() + brief[1:], description=told, epilog=example, formatter_class=RAW
    )
    verb.add_argument("--json", action="store_true", help="print the result as JSON on one line")
    verb.add_argument("--quiet", action="store_true", help="show no progress")
    verb.set_defaults(run_verb=run)
    return verb


def _limits(verb: argparse.ArgumentParser) -> None:
    text = f"raise what one cell may hold: {', '.join(f.name for f in fields(Limits))}; repeatable"
    verb.add_argument("--limit", action="append", default=[], metavar="NAME=N", help=text)


def _demo_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "-o",
        "--out",
        metavar="FOLDER",
        default="sensorium-demo",
        help="folder to write (default: sensorium-demo)",
    )
    verb.add_argument("--target", choices=TARGETS, help="only this question (default: both)")
    verb.add_argument(
        "--minutes", type=float, default=4.0, metavar="M", help="training time of all questions (default: 4)"
    )


def _fit_options(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("data", metavar="DATA", help="table (.csv .tsv .jsonl .parquet .arrow) or folder")
    wanted = verb.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--target", metavar="COL", help="the column to answer")
    wanted.add_argument(
        "--match", metavar="A,B", help="columns that belong together: one space for all of them, to search in"
    )
    add("--inputs", metavar="A,B", help="the columns that go in (default: all others)")
    add("--also", metavar="A,B", help="further target columns that only help training")
    add(
        "--column", action="append", default=[], metavar="NAME=KIND[:opt=value,...]",
        help="say what a column holds where the guess from its cells is wrong; repeatable",
    )  # fmt: skip
    add("--valid", metavar="DATA", help="validation rows (default: split = valid, or a cut of the rows)")
    add(
        "--group",
        metavar="COLUMN",
        help="rows with the same value (a person, a device) stay on one side of the cut",
    )
    add("--size", choices=SIZES, help="of the network (default: nano without a GPU, else small)")
    budget = verb.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, metavar="M", help="at most so much training (default: about 5)"
    )
    budget.add_argument(
        "--epochs", type=int, metavar="N", help="a fixed number of passes over the rows instead"
    )
    add(
        "--fusion",
        default="auto",
        choices=FUSIONS,
        help="how inputs meet; auto chooses on validation rows and may count simple models in (default)",
    )
    add(
        "--balance",
        default="guarded",
        choices=BALANCES,
        help="how the losses of all inputs together and of each alone train the network (default: guarded: their sum, "
        "but an input that alone tells nothing on validation rows does not train by itself)",
    )
    add(
        "--steps", type=int, metavar="N",
        help="steps of reasoning, where one input is a question about the others (default: 4; 0: none)",
    )  # fmt: skip
    add(
        "--teacher", metavar="RUN",
        help="learn from the answers of a run for the same target, too; it may read columns that these inputs lack",
    )  # fmt: skip
    _match_options(verb)
    add("--seed", type=int, default=0, metavar="S", help="seed of everything random (default: 0)")
    add("-o", "--out", required=True, metavar="RUN", help="run folder; the same command continues it")
    _limits(verb)


def _match_options(verb: argparse.ArgumentParser) -> None:
    """Of `fit --match` alone."""
    add = verb.add_argument
    add(
        "--loss",
        default="softmax",
        choices=LOSSES,
        help="of --match: softmax (InfoNCE, default) or sigmoid (SigLIP)",
    )
    add(
        "--batch",
        type=int,
        default=0,
        metavar="N",
        help="of --match: rows that are compared at a step (default: 256 at most)",
    )
    add("--init", metavar="RUN", help="of --match: start from the encoders of a run with the same columns")
    add(
        "--lock",
        metavar="A,B",
        help="of --match: columns whose encoders are trained no further (with --init)",
    )
    add(
        "--memory",
        metavar="N",
        help="of --match: bytes that a training step may hold, as 512M or 2G (default: no bound)",
    )


def _use_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", metavar="RUN", help="folder that `fit` wrote")
    verb.add_argument("data", metavar="DATA", help="table or folder")
    verb.add_argument("--split", metavar="NAME", help="only the rows of this split")
    _limits(verb)


def _named_options(verb: argparse.ArgumentParser) -> None:
    """Of a run of `--match`: answers by names and by a few rows."""
    add = verb.add_argument
    add("--labels", metavar="A,B", help="with a run of --match: sort rows among these names (zero-shot)")
    add(
        "--templates",
        metavar="TEXT",
        help='sentence around a name, "a photo of {}", or a JSON list of several',
    )
    add("--shots", metavar="DATA", help="with a run of --match: a few labelled rows to learn from (few-shot)")
    add("--target", metavar="COL", help="the column of --shots that holds the labels")


def _cells_options(verb: argparse.ArgumentParser, what: str) -> None:
    """Cells given on the command line: by what they carry, or by the name of their column."""
    add = verb.add_argument
    for carrier in CARRIERS:
        add(f"--{carrier}", metavar="TEXT" if carrier == "text" else "FILE", help=f"{what} this {carrier}")
    add(
        "--ask", action="append", default=[], metavar="COL=VALUE",
        help=f"{what} a value of this column; repeatable",
    )  # fmt: skip


def _manner_options(verb: argparse.ArgumentParser) -> None:
    """How texts are searched for."""
    add = verb.add_argument
    add("--beam", type=int, metavar="N", help="texts that are followed at once (default: 4)")
    add("--alpha", type=float, metavar="A", help="0 favours short texts, 1 long ones (default: 0.7)")
    add("--longest", type=int, metavar="N", help="most tokens (default: as many as training texts)")
    add("--shortest", type=int, metavar="N", help="fewest tokens (default: 0)")
    add("--temperature", type=float, metavar="T", help="draw by lot instead, below 1 close to the likeliest")
    add("--seed", type=int, metavar="S", help="of --temperature (default: 0)")


def _generate_options(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("run", metavar="RUN", help="folder that `fit` wrote, with a target that is text")
    add("data", metavar="DATA", nargs="?", help="a table, of which --row is written for")
    _cells_options(verb, "write from")
    add("--row", metavar="N", help="of DATA: id of the row, or its number from 0 (default: 0)")
    add("--split", metavar="NAME", help="of DATA: only the rows of this split")
    _manner_options(verb)
    add("--stream", action="store_true", help="print the text in pieces, as it is written: a beam of one")
    add("-o", "--out", metavar="FILE", help="the page (default: RUN/generate.html)")
    _limits(verb)


def _finding_verbs(verbs) -> None:
    """Vectors, an index, searches."""
    vectors = _verb(verbs, "embed", embed)
    _use_options(vectors)
    vectors.add_argument("-o", "--out", required=True, metavar="FILE", help="vectors: .npz or .parquet")
    vectors.add_argument(
        "--space", default="coordinated", choices=("coordinated", "joint"),
        help="a vector for each input (default), or one for all that a row has",
    )  # fmt: skip
    drawn = _verb(verbs, "align", align)
    _use_options(drawn)
    drawn.add_argument(
        "--row", default="0", metavar="N", help="id of the row, or its number from 0 (default: 0)"
    )
    drawn.add_argument("--columns", metavar="A,B", help="only these matched columns (default: all)")
    drawn.add_argument("-o", "--out", metavar="FILE", help="the page (default: RUN/align-N.html)")
    made = _verb(verbs, "index", index)
    _use_options(made)
    made.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="INDEX",
        help="folder or s3:// address; an index there is added to",
    )
    made.add_argument("--delete", action="store_true", help="delete the rows with the ids of DATA instead")
    asked = _verb(verbs, "search", search)
    add = asked.add_argument
    add("index", metavar="INDEX", help="folder that `index` wrote")
    add("queries", metavar="QUERIES", nargs="?", help="a table of queries, with --query and -o")
    _cells_options(asked, "look for")
    add("--query", metavar="COL", help="the column of QUERIES that asks")
    add("--answer", metavar="COL", help="find by this column (default: whichever fits best)")
    add(
        "--words",
        metavar="TEXT",
        help="look words up as they are written; beside a query both orders are merged",
    )
    add("--where", metavar="CONDITION", help="only rows like this: 'price < 10 and colour = \"red\"'")
    add("-k", type=int, default=10, metavar="N", help="how many (default: 10)")
    add("--run", metavar="RUN", help="the run that made the index (default: where it was)")
    add("--split", metavar="NAME", help="only the QUERIES of this split")
    add("-o", "--out", metavar="FILE", help="the page (default: INDEX-search.html); for QUERIES a .csv")
    _limits(asked)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    about = "Any columns in, any column out: one honest model for tables of any media."
    top = argparse.ArgumentParser("sensorium", description=about, epilog=EPILOG, formatter_class=RAW)
    top.add_argument("--version", action="version", version=__version__, help="print the version")
    verbs = top.add_subparsers(required=True, metavar="VERB", title="verbs")
    _demo_options(_verb(verbs, "demo", demo))
    _fit_options(_verb(verbs, "fit", fit))
    asked = _verb(verbs, "predict", predict)
    _use_options(asked)
    asked.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="predictions: .csv, .jsonl or .parquet"
    )
    asked.add_argument(
        "--sets", type=float, nargs="?", const=0.9, metavar="LEVEL",
        help="add what each answer is among with this certainty: .8, .9 (default) or .95",
    )  # fmt: skip
    _named_options(asked)
    asked.add_argument(
        "--abstain",
        type=float,
        metavar="RISK",
        help="leave rows unanswered so that at most this share is wrong",
    )
    _manner_options(asked)
    measured = _verb(verbs, "evaluate", evaluate)
    _use_options(measured)
    measured.add_argument(
        "--by", metavar="COL", help="with a run of --match: rows that are equal in it belong together"
    )
    _use_options(_verb(verbs, "interactions", interactions))
    why = _verb(verbs, "explain", explain)
    _use_options(why)
    why.add_argument(
        "--row", default="0", metavar="N", help="id of the row, or its number from 0 (default: 0)"
    )
    why.add_argument("--answer", metavar="CLASS", help="explain this class instead of the likeliest")
    why.add_argument("-o", "--out", metavar="FILE", help="the page (default: RUN/explain-N.html)")
    _generate_options(_verb(verbs, "generate", generate))
    _finding_verbs(verbs)
    _verb(verbs, "report", report).add_argument("run", metavar="RUN", help="folder that `fit` wrote")
    _verb(verbs, "doctor", doctor)
    _verb(verbs, "version", version)
    return top
