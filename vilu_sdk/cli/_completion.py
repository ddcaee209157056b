"""`vilu completion`: scripts that let a shell complete commands, options and their values.

They are made from the parser and hold all completions, so that a shell completes without Python.
"""

import argparse
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from vilu_sdk.cli._parser import command
from vilu_sdk.cli._scorers import CLASSES
from vilu_sdk.persistence.hub import bundled_heads


def add(commands: Any) -> None:
    """Add the command, with the parsers of all others."""
    parser = command(
        commands,
        "completion",
        run,
        "print the script that completes commands and options in a shell",
        'eval "$(vilu completion bash)"',
    )
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="SHELL", help="bash, zsh or fish")
    parser.set_defaults(commands=commands.choices)


def run(arguments: Namespace) -> int:
    """Print the script."""
    print(SHELLS[arguments.shell](arguments.commands), end="")
    return 0


def bash(commands: dict[str, argparse.ArgumentParser]) -> str:
    """Return a script for bash, which completes files where it has no other completion."""
    options, places = [], defaultdict(list)
    for name, parser in commands.items():
        flags = [(flag, action) for action in parser._actions for flag in action.option_strings]
        options.append(f'    {name}) options="{" ".join(flag for flag, _ in flags)}" ;;')
        for flag, action in flags:
            if _takes(action):
                places[f'values="{" ".join(_values(action))}" takes=1'].append(f'"{name} {flag}"')
        for action in parser._actions:
            if not action.option_strings and _values(action):
                places[f'values="{" ".join(_values(action))}"'].append(f'"{name} {name}"')
    return BASH.format(
        names="|".join(commands),
        commands=" ".join(commands),
        options="\n".join(options),
        values="\n".join(f"    {'|'.join(where)}) {values} ;;" for values, where in places.items()),
    )


def zsh(commands: dict[str, argparse.ArgumentParser]) -> str:
    """Return the same script for zsh, which can run it."""
    return (
        "autoload -U +X compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"
        + bash(commands)
    )


def fish(commands: dict[str, argparse.ArgumentParser]) -> str:
    """Return a script for fish."""
    lines = []
    for name, parser in commands.items():
        lines.append(f"complete -c vilu -n __fish_use_subcommand -f -a {name} -d {_quoted(_summary(parser))}")
        for action in parser._actions:
            short = [f"-s {flag[1:]}" for flag in action.option_strings if not flag.startswith("--")]
            long = [f"-l {flag[2:]}" for flag in action.option_strings if flag.startswith("--")]
            words = f"-a {_quoted(' '.join(_values(action)))}" if _values(action) else ""
            takes = ("-x" if action.choices else "-r") if action.option_strings and _takes(action) else ""
            # Files are completed unless the list of values is complete.
            if not action.option_strings and action.choices:
                takes = "-f"
            if short or long or words:
                parts = [*short, *long, takes, words, f"-d {_quoted(action.help)}"]
                place = f"-n '__fish_seen_subcommand_from {name}'"
                lines.append(f"complete -c vilu {place} {' '.join(filter(None, parts))}")
    return "\n".join(lines) + "\n"


#: The scripts, by shell.
SHELLS: dict[str, Callable[[dict[str, argparse.ArgumentParser]], str]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}

BASH = """\
_vilu() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD - 1]}}"
  local command="" options="--help --version --debug" values="" takes="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in {names}) command="${{COMP_WORDS[i]}}"; break ;; esac
  done
  case "$command" in
{options}
  esac
  case "$command $previous" in
{values}
  esac
  [[ -z "$command" ]] && values="{commands}"
  [[ -z "$takes" && "$word" == -* ]] && values="$options"
  COMPREPLY=($(compgen -W "$values" -- "$word"))
}}
complete -o bashdefault -o default -F _vilu vilu
"""


def _summary(parser: argparse.ArgumentParser) -> str:
    """Return the first sentence of what a command does."""
    return (parser.description or "").partition(". ")[0].removesuffix(".")


def _takes(action: argparse.Action) -> bool:
    """Return whether the option takes a value."""
    return action.nargs != 0


def _values(action: argparse.Action) -> list[str]:
    """Return the values of an option or argument, where there is a list of them."""
    if action.dest == "scorer":
        return [*CLASSES, *bundled_heads()]
    if action.dest == "name":
        return list(bundled_heads())
    return [str(value) for value in action.choices or ()]


def _quoted(text: str | None) -> str:
    return "'" + (text or "").replace("\\", "\\\\").replace("'", "\\'") + "'"
