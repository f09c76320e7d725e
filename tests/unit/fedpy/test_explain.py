"""Explanations: golden text, a well-formed and harmless picture, Mermaid, JSON."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from blossom.fedpy.explain import Explanation, FitNote, bytes_text, explanation, rows_text, seconds_text
from blossom.optimizer.physical import Estimate, Fragment, Location, PhysicalPlan
from blossom.plan.expressions import Call, Column, Literal, Subquery
from blossom.plan.relations import Aggregate, Filter, Parts, Project, Received, Relation, Scan, SetOperation
from blossom.plan.schema import Schema

PEOPLE = Schema([("age", "int64"), ("city", "string")])
COUNTS = Schema([("city", "string"), ("n", "int64")])
EVIL = '<script>alert("x")</script>'


def part(site: str) -> Relation:
    adult = Call("GreaterEqual", (Column("age", "int64"), Literal(18, "int8")), "boolean")
    people = Filter(Scan("people", PEOPLE, site), (adult,))
    return Aggregate(
        people, (("city", Column("city", "string")),), (("n", Call("CountStar", (None,), "int64")),)
    )


def merged(*parts: Relation) -> Relation:
    union = SetOperation("union", parts, False)
    total = Call("Sum", (Column("n", "int64"), None), "int64")
    return Aggregate(union, (("city", Column("city", "string")),), (("n", total),))


def example(**kwargs) -> Explanation:
    north, south = part("north"), part("south")
    fragments = (
        Fragment("f0", Location("north", "duckdb"), north, (), ("hub",), Estimate(0.0123, 58, 1856), ("north/people lives here", "policy: rows stay")),
        Fragment("f1", Location("south", "pg"), south, (), ("hub",), Estimate(1.5, 1_250_000, 40e6)),
        Fragment("f2", Location("hub", "duckdb"), merged(Received("f0", COUNTS), Received("f1", COUNTS)), ("f0", "f1"), ("hub",), Estimate(0.1, 9, 288)),
    )  # fmt: skip
    return explanation(PhysicalPlan(fragments, 1.62, 0.002), **kwargs)


def test_text() -> None:
    shown = example(
        actuals={"f0": (0.02, 12, 400)},
        policies={"north": "aggregates to hub, groups of at least 10"},
        notes=["two cells withheld"],
    )
    assert str(shown).splitlines() == [
        "Plan: 3 fragments at 3 sites, about 1.6 s, planned in 2 ms, ≈ 40 MB cross a site's border",
        "",
        "f0  duckdb@north             expected  12 ms, 58 rows, 1.9 KB",
        "                             actual    20 ms, 12 rows, 400 B",
        "    Scan people > Filter age >= 18 > Aggregate [city] n=count()",
        "    leaves north for hub (f2): 400 B",
        "    why: north/people lives here",
        "         policy: rows stay",
        "",
        "f1  pg@south                 expected  1.5 s, 1.2 M rows, 40 MB",
        "    Scan people > Filter age >= 18 > Aggregate [city] n=count()",
        "    leaves south for hub (f2): ≈ 40 MB",
        "",
        "f2  duckdb@hub               expected  100 ms, 9 rows, 288 B",
        "    merge of f0, f1 > Aggregate [city] n=sum(n)",
        "    stays at hub, for the result",
        "",
        "policy of north: aggregates to hub, groups of at least 10",
        "note: two cells withheld",
    ]


def test_a_local_plan_crosses_nothing_that_is_not_its_result() -> None:
    only = Fragment("f0", Location("north", "duckdb"), part("north"), (), ("hub",), Estimate(0.1, 9, 288))
    shown = Explanation(PhysicalPlan((only,), 0.1))
    assert "leaves north for hub (the result): ≈ 288 B" in shown.text()
    assert shown.text().startswith("Plan: 1 fragment at 1 site, about 100 ms")
    assert re.findall(r'font-weight="600">([^<]+)<', shown.svg()) == [
        "north",
        "hub",
        "f0 Aggregate",
        "result",
    ]


def test_stages_are_printed_on_demand() -> None:
    stages = [("distributed", Parts((part("north"), part("south")), ("north", "south")))]
    shown = example(stages=stages)
    assert "Parts" not in shown.text()
    assert shown.text(stages=True).endswith(
        "distributed:\n"
        "  Parts\n"
        "    north: Aggregate [city] n=count()\n"
        "      Filter age >= 18\n"
        "        Scan north/people (age, city)\n"
        "    south: Aggregate [city] n=count()\n"
        "      Filter age >= 18\n"
        "        Scan south/people (age, city)"
    )
    assert shown.stages == tuple(stages)


def test_lines_stay_narrow_and_operators_short() -> None:
    wide = Project(
        Scan("people", PEOPLE, "north"),
        tuple((f"column_number_{i}", Column("age", "int64")) for i in range(90)),
    )
    fragment = Fragment(
        "f0", Location("north" * 30, "duckdb"), wide, (), ("hub",), Estimate(0, 1, 1), ("because " * 60,)
    )
    shown = Explanation(
        PhysicalPlan((fragment,), 0), stages=(("logical", wide),), policies={"north": "word " * 50}
    )
    lines = shown.text(stages=True).splitlines()
    assert sum("column_number" in line for line in lines) == 4
    assert max(len(line) for line in lines if "leaves" not in line) <= 100


def test_subqueries_are_part_of_the_operators() -> None:
    inner = Filter(
        Scan("people", PEOPLE, "north"), (Subquery("exists", Scan("visits", PEOPLE, "north"), "boolean"),)
    )
    fragment = Fragment("f0", Location("north", "duckdb"), inner, (), ("hub",), Estimate(0, 1, 1))
    assert (
        "Scan people, (Scan visits) > Filter exists(subquery)"
        in Explanation(PhysicalPlan((fragment,), 0)).text()
    )


def operators(root: Relation) -> str:
    text = Explanation(
        PhysicalPlan((Fragment("f0", Location("north", "duckdb"), root, (), ("hub",), Estimate(0, 1, 1)),), 0)
    ).text()
    return text.split("\n")[3].strip()


def test_a_projection_that_only_leaves_columns_out_is_told_once() -> None:
    wide = Scan("people", Schema([(name, "int64") for name in "abcdefg"]), "north")
    few = Project(wide, tuple((name, Column(name, "int64")) for name in "abcdef"))
    again = Project(few, (("a", Column("a", "int64")),))
    assert operators(again) == "Scan people (a, b, c, d and 2 more)"
    renamed = Project(few, (("z", Column("a", "int64")),))
    assert operators(renamed) == "Scan people (a, b, c, d and 2 more) > Project z=a"


def test_branches_stand_in_parentheses_and_what_is_read_twice_stands_once() -> None:
    people = Scan("people", PEOPLE, "north")
    adults = part("north").inputs[0]
    assert operators(SetOperation("difference", (adults, people), False)) == (
        "(Scan people > Filter age >= 18), Scan people > Difference all"
    )
    assert operators(SetOperation("union", (adults, adults), False)) == (
        "merge of (Scan people > Filter age >= 18), the same Filter"
    )


def test_what_only_stays_shows_how_many_rows_at_most() -> None:
    kept = Fragment("f0", Location("north", "duckdb"), part("north"), (), ("north",), Estimate(0.1, 9, 288))
    last = Fragment(
        "f1", Location("north", "python"), Received("f0", COUNTS), ("f0",), ("hub",), Estimate(0, 9, 288)
    )
    shown = explanation(PhysicalPlan((kept, last), 0.1), actuals={"f0": (0.02, 64, 0), "f1": (0.1, 9, 288)})
    assert "actual    20 ms, at most 64 rows\n" in shown.text()
    assert "stays at north, for f1" in shown.text()


def test_sites_with_the_same_policy_share_a_line() -> None:
    policies = {"south": "rows", "north": "rows", "hub": "none"}
    assert example(policies=policies).text().splitlines()[-2:] == [
        "policy of hub: none",
        "policy of north and south: rows",
    ]


def test_a_fit_is_told_with_its_reason_and_its_rounds() -> None:
    rows = (
        Fragment("f0", Location("north", "duckdb"), part("north"), (), ("north",), Estimate(0.1, 9, 288)),
        Fragment("f1", Location("south", "pg"), part("south"), (), ("south",), Estimate(0.1, 9, 288)),
    )
    note = FitNote(
        "n", "horizontal", ("north", "south"), "rows stay", ("sums",), ("newton 3 times",), {"north": 1500}
    )
    shown = Explanation(PhysicalPlan(rows, 0.1), trainings=(note,), answer="model", receiver="hub")
    assert shown.text().splitlines()[-6:] == [
        "",
        "model of n, fitted at north and south (horizontal)",
        "    why: rows stay",
        "    leaves: sums",
        "    rounds: newton 3 times",
        "    left: 1.5 KB from north",
    ]
    assert "no rows cross a site's border" in shown.text()
    assert shown.text().count("for the model") == 2
    assert shown.svg().count(">statistics<") == 2
    assert shown.mermaid().count("| result") == 2
    assert json.loads(shown.to_json())["trainings"][0]["mode"] == "horizontal"


def hostile() -> Explanation:
    evil = Scan(EVIL, Schema([(EVIL, "string")]), EVIL)
    root = Filter(
        evil, (Call("Equals", (Column(EVIL, "string"), Literal("\x1b[2J" + EVIL, "string")), "boolean"),)
    )
    fragment = Fragment("f0", Location(EVIL, EVIL), root, (), (EVIL, "hub"), Estimate(1, 1, 1), (EVIL,))
    return Explanation(PhysicalPlan((fragment,), 1), policies={EVIL: EVIL}, notes=(EVIL,))


@pytest.mark.parametrize("shown", [example(), hostile()], ids=["example", "hostile"])
def test_the_picture_is_well_formed_and_harmless(shown: Explanation) -> None:
    picture = shown.svg()
    tree = ElementTree.fromstring(picture)
    assert {one.tag.split("}")[1] for one in tree.iter()} == {"svg", "rect", "text", "title", "path", "g"}
    assert "<script" not in shown._repr_html_()
    assert not [name for one in tree.iter() for name in one.attrib if name.startswith("on") or "href" in name]
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', picture))
    assert all(one in ("currentColor", "none") or re.fullmatch("#[0-9a-f]{6}", one) for one in colours)


def test_the_picture_shows_every_fragment_and_marks_what_crosses() -> None:
    picture = example().svg()
    assert [picture.count(f">{key} Aggregate<") for key in ("f0", "f1", "f2")] == [1, 1, 1]
    assert picture.count("stroke-dasharray") == 2
    assert 'aria-label="Plan: 3 fragments' in picture
    boxes = re.findall(r'<rect x="(\d+)" y="(\d+)" width="190"', picture)
    assert len(set(boxes)) == 3
    assert int(boxes[0][0]) == int(boxes[1][0]) < int(boxes[2][0])


def test_nothing_reaches_the_terminal_that_could_move_its_cursor() -> None:
    assert "\x1b" not in hostile().text(stages=True)
    assert "\\x1b[2J" in hostile().text()


def test_mermaid() -> None:
    lines = example().mermaid().splitlines()
    assert lines[0] == "flowchart LR"
    assert '  f0 -.->|"≈ 1.9 KB"| f2' in lines
    assert '  f2 -->|"≈ 288 B"| result' in lines
    assert sum(line.strip() == "end" for line in lines) == 3
    assert "<" not in hostile().mermaid()
    assert hostile().mermaid().count('"') % 2 == 0


def test_json_holds_everything() -> None:
    shown = example(
        actuals={"f0": (0.02, 12, 400)},
        stages=[("logical", part("north"))],
        policies={"north": "p"},
        notes=["n"],
    )
    data = json.loads(shown.to_json())
    assert data == shown.to_dict()
    assert [one["key"] for one in data["fragments"]] == ["f0", "f1", "f2"]
    assert data["fragments"][0]["actual"] == {"seconds": 0.02, "rows": 12, "bytes": 400}
    assert data["fragments"][1]["actual"] is None
    assert data["fragments"][2]["columns"] == {"city": "string", "n": "int64"}
    assert data["stages"][0]["name"] == "logical"
    assert (data["consumer"], data["policies"], data["notes"]) == ("hub", {"north": "p"}, ["n"])


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (seconds_text(0), "0 ms"),
        (seconds_text(0.9999), "1000 ms"),
        (seconds_text(99.6), "100 s"),
        (bytes_text(0), "0 B"),
        (bytes_text(999.7), "1 KB"),
        (rows_text(0), "0 rows"),
        (rows_text(12_345), "12 k rows"),
    ],
)
def test_figures(text: str, want: str) -> None:
    assert text == want
