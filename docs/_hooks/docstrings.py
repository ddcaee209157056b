"""Parameters of docstrings with the types that stand there and the defaults of the signature.

By itself griffe gives all of `a, b : int` the default of `a`, reads `{"x", "y"}` as a tuple without quotes
and "path-like" as a difference.
"""

import re
from typing import Any

import griffe

# Names of parameters and their type, on a line that is not indented.
TYPED = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*) ?: ?(.+)$", re.MULTILINE)


OPTIONAL = re.compile(r", (optional|default=.*)$")


class AsWritten(griffe.Extension):
    """Corrects what was parsed, before pages are made of it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Walk the package."""
        _correct(pkg)


def _correct(thing: griffe.Object | griffe.Alias) -> None:
    if thing.is_alias:
        return
    if thing.docstring and (thing.is_class or thing.is_function):
        _correct_parameters(thing)
    for member in thing.members.values():
        _correct(member)


def _correct_parameters(thing: griffe.Object) -> None:
    types = {name: line[2] for line in TYPED.finditer(thing.docstring.value) for name in line[1].split(", ")}
    for section in thing.docstring.parsed:
        if section.kind is not griffe.DocstringSectionKind.parameters:
            continue
        for parameter in section.value:
            signature = {p.name: p for p in thing.parameters}.get(parameter.name)
            written = OPTIONAL.sub("", types.get(parameter.name, ""))
            if signature is not None:
                parameter.default = signature.default
                parameter.annotation = parameter.annotation if written else signature.annotation
            if any(mark in written for mark in ("{", "path-like", " or ")):
                parameter.annotation = written
