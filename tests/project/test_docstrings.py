"""Examples in the methods of public classes, which pytest passes over because their module is another.

Public names say the package that users import them from as their module, as in `vilu_sdk.MCMScorer`, and
pytest looks for the examples of that module in it: it finds those of classes and functions, not of methods.
"""

import doctest
import importlib

import pytest

PUBLIC = ("", ".scorers", ".evaluation", ".selective", ".displays", ".scale", ".inputs")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples():
    seen = set()
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in (importlib.import_module(f"vilu_sdk{name}") for name in PUBLIC):
        for name in module.__all__:
            value = getattr(module, name)
            assert value.__module__ == module.__name__ or value.__module__ == "vilu_sdk", name
            if isinstance(value, type) and value not in seen:
                seen.add(value)
                for found in finder.find(value, name, module=False, globs={}):
                    if "." in found.name and found.examples:
                        yield pytest.param(found, id=found.name)


@pytest.mark.parametrize("example", list(examples()))
def test_the_example_of_a_method_runs(example):
    results = doctest.DocTestRunner(optionflags=OPTIONS).run(example)
    assert results.attempted
    assert not results.failed


def test_public_names_say_where_users_import_them_from():
    import vilu_sdk

    assert repr(vilu_sdk.MCMScorer) == "<class 'vilu_sdk.MCMScorer'>"
    assert vilu_sdk.selective.SelectionReport.__module__ == "vilu_sdk.selective"
