"""The examples in docstrings run, and every public function of these modules has one."""

import doctest
import importlib
import inspect

import pytest

MODULES = ("inpaint.losses", "inpaint.occlusion", "scene.masks", "scene.metrics")


def examples_of(name: str) -> dict[str, doctest.DocTest]:
    """By the function's or class's name, with what stands in its docstring; the module itself
    left out."""
    module = importlib.import_module(name)
    found = doctest.DocTestFinder(exclude_empty=False).find(module)
    return {test.name.removeprefix(f"{name}."): test for test in found if test.name != name}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_give_what_they_say(name):
    output: list[str] = []
    runner = doctest.DocTestRunner()
    for test in examples_of(name).values():
        runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_an_example(name):
    examples = examples_of(name)
    functions = [
        word
        for word, value in inspect.getmembers(importlib.import_module(name), inspect.isfunction)
        if value.__module__ == name and not word.startswith("_")
    ]
    assert len(functions) > 4
    assert [word for word in functions if not examples[word].examples] == []
