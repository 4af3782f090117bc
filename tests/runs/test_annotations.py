"""Values of a config against the text of annotations."""

import ast

import pytest

from autocast.runs.annotations import fits, in_words, mismatch
from autocast.runs.signatures import Parameter


def parse(text):
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [3], [2.5, True, "3", None, [3]]),
        ("float", [3, 2.5], [True, "x", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["a"], [1, None]),
        ("int | None", [3, None], ["x", 2.5]),
        ("Optional[float]", [1, None], ["x"]),
        ("Union[int, str]", [1, "a"], [1.5, None]),
        ("Literal['a', 'b']", ["a"], ["c", 1]),
        ("list[int]", [[1, 2], []], [[1.5], 3, "12"]),
        ("tuple[int, int]", [[1, 2]], [[1], [1, 2, 3], ["a", "b"]]),
        ("tuple[float, ...]", [[1, 2, 3]], [["a"]]),
        ("Sequence[str]", [["a"]], ["a", [1]]),
        ("dict[str, int]", [{"a": 1}], [{"a": "x"}, [1]]),
        ("typing.Mapping", [{}], [3]),
        ("'int | None'", [3, None], ["x"]),
        ("Callable[[int], int]", [{"_target_": "a.b"}], [3]),
        ("Path | str", ["a"], [3]),
        ("SomethingElse", [3, "a", None, [1]], []),
        ("Annotated[int, 'metres']", [3], ["x"]),
    ],
)
def test_values_fit_their_annotation(annotation, good, bad):
    assert all(fits(value, parse(annotation)) for value in good)
    assert not any(fits(value, parse(annotation)) for value in bad)


def test_without_an_annotation_the_default_tells():
    number, switch = Parameter("n", None, parse("3")), Parameter("on", None, parse("False"))
    assert mismatch("x", number)
    assert mismatch(1, switch)
    assert not mismatch(2.5, number)
    assert not mismatch("anything", Parameter("x", None, None))


def test_what_is_constructed_or_not_known_yet_fits():
    parameter = Parameter("n", parse("int"), None)
    assert not any(mismatch(value, parameter) for value in ({"_target_": "a.B"}, "???", "${nowhere}"))


def test_types_are_told_in_words():
    assert in_words(parse("Optional[int]")) == "a whole number or null"
    assert in_words(parse("bool | str")) == "true or false or a text"
    assert in_words(parse("Literal['a', 'b']")) == "'a' or 'b'"
