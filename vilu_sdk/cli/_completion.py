"""`vilu completion`: scripts that let a shell complete commands, options and their values.

They are made from the parser and hold all completions, so that a shell completes without Python.
"""

import argparse
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable

from vilu_sdk.cli._arguments import CLASSES
from vilu_sdk.persistence.bundled import bundled_heads

#: The parsers of all commands, by name.
Parsers = dict[str, argparse.ArgumentParser]


def bash(commands: Parsers) -> str:
    """Return a script for bash, which completes files where it has no other completion."""
    flags = {
        name: [flag for action in parser._actions for flag in action.option_strings]
        for name, parser in commands.items()
    }
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, parser in commands.items():
        for action in parser._actions:
            values = f'values="{" ".join(_values(action))}"'
            if action.option_strings and action.nargs != 0:  # it takes a value
                places[f"{values} takes=1"] += [f'"{name} {flag}"' for flag in action.option_strings]
            elif not action.option_strings and _values(action):
                places[values].append(f'"{name} {name}"')
    # What all commands take goes before their names too.
    shared = [flag for flag in flags[min(flags)] if all(flag in own for own in flags.values())]
    return BASH.format(
        names="|".join(commands),
        shared=" ".join(shared),
        commands=" ".join(commands),
        options="\n".join(f'    {name}) options="{" ".join(own)}" ;;' for name, own in flags.items()),
        values="\n".join(f"    {'|'.join(where)}) {values} ;;" for values, where in places.items()),
    )


def zsh(commands: Parsers) -> str:
    """Return the same script for zsh, which can run it."""
    return (
        "autoload -U +X compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"
        + bash(commands)
    )


def fish(commands: Parsers) -> str:
    """Return a script for fish."""
    lines = []
    for name, parser in commands.items():
        about = (parser.description or "").partition(". ")[0].removesuffix(".")
        lines.append(f"complete -c vilu -n __fish_use_subcommand -f -a {name} -d {_quoted(about)}")
        for action in parser._actions:
            flags = [
                f"-l {flag[2:]}" if flag[1] == "-" else f"-s {flag[1:]}" for flag in action.option_strings
            ]
            if not flags and not _values(action):
                continue
            # Files are completed unless the list of values is complete.
            takes = ("-x" if action.choices else "-r") if flags else ("-f" if action.choices else "")
            parts = [*flags, "" if action.nargs == 0 else takes]
            if values := _values(action):
                parts.append(f"-a {_quoted(' '.join(values))}")
            place = f"-n '__fish_seen_subcommand_from {name}'"
            lines.append(
                f"complete -c vilu {place} {' '.join(filter(None, parts))} -d {_quoted(action.help)}"
            )
    return "\n".join(lines) + "\n"


#: The scripts, by shell.
SHELLS: dict[str, Callable[[Parsers], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def run(arguments: Namespace) -> int:
    """Print the script."""
    print(SHELLS[arguments.shell](arguments.commands), end="")
    return 0


BASH = """\
_vilu() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD - 1]}}"
  local command="" options="--version {shared}" values="" takes="" i
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


def _values(action: argparse.Action) -> list[str]:
    """Return the values of an option or argument, where there is a list of them."""
    if action.dest in ("scorer", "name"):
        return [*(CLASSES if action.dest == "scorer" else ()), *bundled_heads()]
    return [str(value) for value in action.choices or ()]


def _quoted(text: str | None) -> str:
    return "'" + (text or "").replace("\\", "\\\\").replace("'", "\\'") + "'"
