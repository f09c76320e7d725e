"""What a site refuses to answer, and that its answer does not depend on how rows are cut into batches."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blossom.learning import LinearRegression, LogisticRegression, OneHotEncoder, answer, make_pipeline
from blossom.learning.design import Design, Levels, Numeric
from blossom.learning.site import blocks
from blossom.learning.statistics import Gram, Moments
from blossom.learning.target import Target
from blossom.plan.errors import PolicyError


def refusal(call):
    with pytest.raises(PolicyError) as caught:
        call()
    (found,) = caught.value.refusals
    return found


def numbers(**columns):
    return pa.table({name: np.asarray(values, float) for name, values in columns.items()})


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 20), max_size=12), rows=st.integers(1, 15))
def test_blocks_hold_the_same_rows_in_a_fixed_size(sizes, rows):
    edges = np.cumsum([0, *sizes]).tolist()
    batches = [
        pa.RecordBatch.from_pydict(
            {"x": pa.array(range(a, b), pa.int64()), "d": pa.array(["a"] * (b - a)).dictionary_encode()}
        )
        for a, b in pairwise(edges)
    ]
    found = list(blocks(batches, rows))
    assert [value for block in found for value in block.column("x").to_pylist()] == list(range(edges[-1]))
    assert all(block.num_rows == rows for block in found[:-1])
    assert all(0 < block.num_rows <= rows for block in found)


def test_an_empty_site_answers_nothing_whatever_its_rules():
    statistic = Gram(Design((Numeric("x"),)), Target("y"))
    table = numbers(x=[], y=[])
    for batches in ([], table.to_batches(), [pa.RecordBatch.from_pydict({"x": pa.array([], pa.float64())})]):
        state = answer(statistic, batches, (), 10, site="s", table="t")
        assert state["n"][0] == 0
        assert not state["products"].any()


@pytest.mark.parametrize("rows", [1, 9])
def test_fewer_units_than_min_group(rows):
    table = numbers(x=range(1, rows + 1))
    found = refusal(
        lambda: answer(Moments(Design((Numeric("x"),))), table.to_batches(), (), 10, site="north", table="t")
    )
    assert (found.site, found.table, found.rule) == ("north", "t", "min_group")


def test_parameters_are_at_most_a_third_of_the_units(lab):
    random = np.random.default_rng(0)

    def site(rows):
        return {
            "s": numbers(**{f"x{i}": random.normal(size=rows) for i in range(9)}, y=random.normal(size=rows))
        }

    lab.run(LinearRegression(), site(30), "y", min_group=5)
    found = refusal(lambda: lab.run(LinearRegression(), site(29), "y", min_group=5))
    assert found.rule == "parameters"
    twice = {"s": site(15)["s"]}
    twice["s"] = pa.concat_tables([twice["s"]] * 4).append_column("id", pa.array(list(range(15)) * 4))
    features = [f"x{i}" for i in range(9)]
    found = refusal(lambda: lab.run(LinearRegression(), twice, "y", features, min_group=5, units=("id",)))
    assert found.rule == "parameters"


@pytest.mark.parametrize(("filled", "refused"), [(0, False), (1, True), (9, True), (10, False)])
def test_a_feature_that_few_units_fill(lab, filled, refused):
    x = np.zeros(200)
    x[:filled] = 7.0
    table = numbers(x=x, z=np.arange(1.0, 201.0), y=np.arange(1.0, 201.0) % 17 + 1)
    if not refused:
        lab.run(LinearRegression(), {"s": table}, "y", min_group=10)
        return
    found = refusal(lambda: lab.run(LinearRegression(), {"s": table}, "y", min_group=10))
    assert (found.rule, found.column) == ("feature cells", "x")


def test_a_victim_s_flag_is_refused_per_class(lab):
    random = np.random.default_rng(0)
    late = random.random(400) < 0.5
    flag = random.random(400) < 0.3
    flag[late] = False
    flag[np.flatnonzero(late)[0]] = True  # one late row has the flag: the model would say so
    table = pa.table({"flag": flag, "late": late})
    found = refusal(lambda: lab.run(LogisticRegression(), {"s": table}, "late", min_group=10))
    assert found.column == "flag"
    assert "of one class" in found.reason
    lab.run(LogisticRegression(), {"s": table}, "late", min_group=1)


def test_a_class_with_few_units_is_refused_but_one_class_is_not(lab):
    few = pa.table({"x": np.arange(1.0, 101.0), "late": [i < 4 for i in range(100)]})
    many = pa.table({"x": np.arange(1.0, 101.0), "late": [i % 3 == 0 for i in range(100)]})
    one = pa.table({"x": np.arange(1.0, 101.0), "late": [True] * 100})
    assert (
        refusal(lambda: lab.run(LogisticRegression(), {"a": many, "b": few}, "late", min_group=10)).site
        == "b"
    )
    lab.run(LogisticRegression(), {"a": many, "b": one}, "late", min_group=10)


def test_units_are_counted_not_rows(lab):
    rows = 600
    random = np.random.default_rng(2)
    x = np.where(np.arange(rows) < 100, 1.0, 0.0)
    table = numbers(x=x, y=random.normal(size=rows)).append_column(
        "id", pa.array([0 if v else i for i, v in enumerate(x)])
    )
    lab.run(LinearRegression(), {"s": table}, "y", ["x"], min_group=10)
    found = refusal(
        lambda: lab.run(LinearRegression(), {"s": table}, "y", ["x"], min_group=10, units=("id",))
    )
    assert found.column == "x"  # 100 rows of one patient
    other = table.append_column("visit", pa.array(range(rows)))
    found = refusal(
        lambda: lab.run(LinearRegression(), {"s": other}, "y", ["x"], min_group=10, units=("visit", "id"))
    )
    assert found.column == "x"


def test_pairs_of_indicators(lab):
    table = pa.table(
        {"k": ["a"] * 200 + ["b"] * 200, "m": ["u"] * 197 + ["v"] * 203, "y": np.arange(1.0, 401.0)}
    )
    found = refusal(
        lambda: lab.run(make_pipeline(OneHotEncoder(), LinearRegression()), {"s": table}, "y", min_group=10)
    )
    assert found.rule == "feature cells"
    assert " and " in found.reason
    apart = pa.table(
        {"k": ["a"] * 200 + ["b"] * 200, "m": ["u"] * 200 + ["v"] * 200, "y": np.arange(1.0, 401.0)}
    )
    lab.run(make_pipeline(OneHotEncoder(), LinearRegression()), {"s": apart}, "y", min_group=10)


def test_counts_of_bad_values_are_rounded_up():
    table = pa.table({"x": pa.array([None, *range(1, 40)], pa.float64())})
    state = answer(Moments(Design((Numeric("x"),))), table.to_batches(), (), 10)
    assert state["bad"].tolist() == [10]


def test_a_passed_check_is_not_made_again_and_others_are():
    table = pa.table({"x": np.arange(1.0, 101.0), "k": ["a"] * 60 + ["b"] * 40, "y": np.arange(1.0, 101.0)})
    level = Levels.plain("k", ["a", "b"], rest=False, drop=False)
    passed = set()
    gram = Gram(Design((Numeric("x"), level)), Target("y"))
    answer(gram, table.to_batches(), (), 10, passed=passed)
    assert len(passed) == 1
    rare = table.slice(55)  # five "a" left: as if the rows had changed under the same run
    answer(gram, rare.to_batches(), (), 10, passed=passed)
    with pytest.raises(PolicyError):
        answer(gram, rare.to_batches(), (), 10)
    with pytest.raises(PolicyError):
        answer(Gram(Design((level,)), Target("y")), rare.to_batches(), (), 10, passed=passed)
