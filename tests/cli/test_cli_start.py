"""Nothing is imported before it is needed: what is loaded, which decides what help and mistakes cost."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import vilu_sdk
from vilu_sdk import Scorer, labels
from vilu_sdk.cli import _arguments, _scorers, build_parser
from vilu_sdk.cli._parser import given
from vilu_sdk.evaluation import layout, over_sets
from vilu_sdk.scale import job
from vilu_sdk.selective import conformity

HEAVY = ("torch", "sklearn", "scipy", "pandas", "pyarrow", "huggingface_hub", "tqdm", "ray")
COMMANDS = list(build_parser()._subparsers._group_actions[0].choices)


def run(code: str) -> str:
    """Run code in a process that has loaded nothing."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(lines: list[str], modules: tuple[str, ...]) -> list[str]:
    """Return which modules are loaded once the command has run lines, none of which does any work."""
    return run(f"""
import contextlib, io, sys
from vilu_sdk import cli
for line in {lines}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            cli.main(line.split())
        except SystemExit:
            pass
print(*(name for name in {modules} if name in sys.modules))
""").split()


def test_version_and_help_load_nothing() -> None:
    lines = ["--version", "--help", *(f"{command} --help" for command in COMMANDS)]
    assert loaded_by(lines, (*HEAVY, "numpy")) == []


def test_completion_and_wrong_arguments_load_nothing_heavy() -> None:
    wrong = ["", "nothing", "fit", "score a b --scorer mcm --no-such-option", "sets a b --method none"]
    wrong += [f"{command} --no-such-option" for command in COMMANDS]
    assert loaded_by([*(f"completion {shell}" for shell in ("bash", "zsh", "fish")), *wrong], HEAVY) == []


def test_what_the_parser_says_is_what_the_library_says() -> None:
    assert conformity.METHODS == _arguments.METHODS
    assert layout.LAYOUTS == _arguments.LAYOUTS
    assert over_sets.ALL == _arguments.ALL
    assert job.PIECE_ROWS == _arguments.PIECE_ROWS
    assert labels.TOP == _arguments.TOP
    public = {getattr(vilu_sdk, name) for name in vilu_sdk.__all__}
    found = {one for one in public if isinstance(one, type) and issubclass(one, Scorer)} - {Scorer}
    assert set(_scorers.CLASSES.values()) == found


@pytest.mark.parametrize("command", COMMANDS)
def test_the_work_of_each_command_is_there(command: str) -> None:
    parser = build_parser()._subparsers._group_actions[0].choices[command]
    module, _, function = parser.get_default("run").partition(".")
    assert callable(getattr(__import__(f"vilu_sdk.cli.{module}", fromlist=[function]), function))


def test_importing_the_package_loads_nothing() -> None:
    assert run(f"import sys, vilu_sdk; print([m for m in {(*HEAVY, 'numpy')} if m in sys.modules])") == "[]\n"


def test_all_names_are_listed_and_typed() -> None:
    assert set(vilu_sdk.__all__) <= set(dir(vilu_sdk))
    assert run("from vilu_sdk import *; print(sorted(set(globals()) & {'MCMScorer', 'set_device'}))") == (
        "['MCMScorer', 'set_device']\n"
    )
    tree = ast.parse(Path(vilu_sdk.__file__).read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = [alias.name for node in checked.body for alias in node.names]
    assert sorted(typed) == sorted([*vilu_sdk.__all__, "prompts"])
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = vilu_sdk.nothing


def test_names_are_the_same_however_they_are_imported() -> None:
    """What is pickled names what users import, also where they have never touched the top."""
    said = run("""
import vilu_sdk.scorers, vilu_sdk.selective
for package in (vilu_sdk.scorers, vilu_sdk.selective):
    for name in package.__all__:
        if name in vilu_sdk.__all__:
            assert getattr(package, name).__module__ == "vilu_sdk", name
        else:
            assert getattr(package, name).__module__ == package.__name__, name
import pickle
print(b"vilu_sdk\\n" in pickle.dumps(vilu_sdk.scorers.MCMScorer, 0), vilu_sdk.prompts.TEMPLATES is not None)
""")
    assert said == "True True\n"
    assert pickle.loads(pickle.dumps(vilu_sdk.MCMScorer)) is vilu_sdk.MCMScorer


def test_given_returns_what_has_a_value() -> None:
    arguments = build_parser().parse_args(["score", "a", "b", "--scorer", "mcm", "--piece-rows", "3"])
    assert given(arguments, "piece_rows", "names") == {"piece_rows": 3}
