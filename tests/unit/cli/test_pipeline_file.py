"""A user's file: imported from its path; what is wrong in it is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from blossom.cli.pipeline_file import built, load_function
from blossom.plan.errors import ConfigError, PlanError


def _file(folder: Path, text: str) -> Path:
    path = folder / "my pipeline.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_function_is_found_beside_the_modules_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "beside_it.py").write_text("NAME = 'flights'\n")
    path = _file(tmp_path, "import beside_it\n\ndef pipeline(fed):\n    return fed[beside_it.NAME]\n")

    class Table:
        as_table = None

    table = Table()
    assert built(load_function(path, "pipeline"), path, {"flights": table}) is table


def test_a_missing_file_and_a_missing_function_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_function(tmp_path / "none.py", "pipeline")
    path = _file(tmp_path, "from pathlib import Path\n\ndef pipelin(fed): ...\ndef other(fed): ...\n")
    with pytest.raises(ConfigError) as raised:
        load_function(path, "pipeline")
    assert raised.value.hint == "did you mean --function pipelin? the file defines: pipelin, other"
    folder = tmp_path / "folder.txt"
    folder.write_text("")
    with pytest.raises(ConfigError, match="not a Python file"):
        load_function(folder, "pipeline")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("x = 1\ndef pipeline(fed:\n", 2, "SyntaxError"),
        ("import nothing_of_that_name\n", 1, "ModuleNotFoundError"),
        ("\n\nraise ValueError('bad')\n", 3, "ValueError: bad"),
    ],
)
def test_a_file_that_fails_tells_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(PlanError) as raised:
        load_function(path, "pipeline")
    assert raised.value.where == f"{path}:{line}"
    assert what in raised.value.what


def test_errors_of_a_pipeline_tell_the_line_that_led_to_them(tmp_path: Path) -> None:
    text = "from blossom.plan.errors import PlanError\n\ndef pipeline(fed):\n    return fed()\n"
    path = _file(tmp_path, text)
    function = load_function(path, "pipeline")

    def own() -> object:
        raise PlanError("unknown table 'flight'")

    def placed() -> object:
        raise PlanError("unknown table 'flight'", where="site north")

    with pytest.raises(PlanError) as raised:
        built(function, path, own)
    assert raised.value.where == f"{path}:4"
    with pytest.raises(PlanError) as raised:
        built(function, path, placed)
    assert raised.value.where == "site north"
    with pytest.raises(PlanError, match="ZeroDivisionError") as raised:
        built(function, path, lambda: 1 // 0)
    assert raised.value.where == f"{path}:4"
    with pytest.raises(PlanError, match="gives NoneType, which is no pipeline"):
        built(function, path, lambda: None)
