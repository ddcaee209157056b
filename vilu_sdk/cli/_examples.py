"""`vilu examples`: list complete example programs, or copy them."""

import ast
from argparse import Namespace
from pathlib import Path

import vilu_sdk
from vilu_sdk.cli._exits import UsageError
from vilu_sdk.cli._outputs import write_folder
from vilu_sdk.inputs.escape import masked
from vilu_sdk.inputs.remote import is_remote


def run(arguments: Namespace) -> int:
    """List the examples, or copy them."""
    paths = sorted(folder().glob("*.py"))
    if arguments.folder is None:
        for path in paths:
            print(f"{path.name:28}{title(path)}")
        if not arguments.quiet:
            print("\nvilu examples FOLDER copies them.")
        return 0
    if is_remote(arguments.folder):
        raise UsageError(
            f"examples are copied into a folder of this machine, not {masked(arguments.folder)}."
        )
    copied = Path(arguments.folder).expanduser()
    write_folder(copied, {path.name: path.read_bytes() for path in paths}, overwrite=arguments.overwrite)
    if not arguments.quiet:
        print(f"""\
{len(paths)} examples, whose pictures need matplotlib. Go on with

    pip install "vilu-sdk[plot]"
    python {copied / "quickstart.py"}""")
    return 0


def folder() -> Path:
    """Return where the examples are: in an installed package, or beside that of a repository."""
    package = Path(vilu_sdk.__file__).parent
    inside = package / "examples"
    return inside if inside.is_dir() else package.parent / "examples"


def title(path: Path) -> str:
    """Return the first line of an example."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
