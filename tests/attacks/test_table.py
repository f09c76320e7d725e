"""The documentation's table of attacks is the suite's."""

from tests.attacks.table import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.attacks.table`"
