import pytest

from edgepack.toolchain import errors
from edgepack.toolchain.answers import error_in, read_answer, write_answer


def test_a_result_comes_back(tmp_path):
    write_answer(tmp_path / "answer.json", lambda: {"rung": "dynamo"})
    answer = read_answer(tmp_path / "answer.json")
    assert error_in(answer) is None
    assert answer["rung"] == "dynamo"
    assert [path.name for path in tmp_path.iterdir()] == ["answer.json"]


@pytest.mark.parametrize("kind", [errors.SourceError, errors.GateError, errors.ToolchainMissingError])
def test_an_error_comes_back_in_its_own_class(tmp_path, kind):
    def work():
        raise kind("what", where="where", todo="todo")

    write_answer(tmp_path / "answer.json", work)
    error = error_in(read_answer(tmp_path / "answer.json"))
    assert type(error) is kind
    assert str(error) == "what (where). todo."


def test_a_name_that_is_unknown_keeps_its_hint(tmp_path):
    def work():
        raise errors.UnknownNameError("task", "fil-mask", ["fill-mask"])

    write_answer(tmp_path / "answer.json", work)
    error = error_in(read_answer(tmp_path / "answer.json"))
    assert isinstance(error, errors.UnknownNameError)
    assert "Did you mean 'fill-mask'" in str(error)


def test_a_class_that_is_no_error_of_ours_is_not_taken():
    answer = {"ok": False, "type": "Iterable", "what": "w", "where": None, "todo": None}
    assert type(error_in(answer)) is errors.ExportError


def test_other_exceptions_pass(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_answer(tmp_path / "answer.json", lambda: {"x": 1 / 0})
    assert list(tmp_path.iterdir()) == []
