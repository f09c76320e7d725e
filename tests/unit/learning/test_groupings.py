"""What answers tell where a grouping is withheld, and that the groups asked about are the groups told of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from blossom.learning import answer
from blossom.learning.calibration import binary_figures
from blossom.learning.design import Design, Numeric
from blossom.learning.metrics import regression_metrics
from blossom.learning.score import Score
from blossom.learning.statistics import (
    ClusterSums,
    Confusion,
    Moments,
    Part,
    RegressionErrors,
    ScoreCells,
    Together,
)
from blossom.learning.statistics.groupings import BINS, SIDES, SIGNS
from blossom.learning.target import Target
from blossom.plan.errors import ConfigError

LEAST = 5
DESIGN = Design((Numeric("x"),))
BINARY = Score.linear(DESIGN, "logistic", np.ones(1), 0.0)
LATE = Target("late", (False, True))


@pytest.fixture(scope="module")
def block() -> pa.RecordBatch:
    random = np.random.default_rng(2)
    x = random.normal(size=300)
    late = random.random(300) < 1 / (1 + np.exp(-x))
    return pa.RecordBatch.from_pydict({"x": x, "late": late, "y": x + random.normal(size=300)})


def told(statistic, block, *withheld):
    return answer(statistic, [block], min_group=LEAST, withheld=frozenset(withheld))


def test_the_cells_of_two_classes(block: pa.RecordBatch) -> None:
    cells = ScoreCells(BINARY, LATE, 0.0, 1.0)
    sides, bins = cells.groupings()
    counts = np.bincount(sides.codes(block), minlength=4).reshape(2, 2)
    open_ = told(cells, block)
    wrong, doubt, (confused, _), calibration = binary_figures(open_, cells)
    np.testing.assert_array_equal(confused, counts)
    assert (wrong, doubt) == (counts[0, 1] + counts[1, 0], 0.0)
    assert np.bincount(bins.codes(block), minlength=20).sum() == sum(calibration["rows"].to_pylist())

    near = told(cells, block, SIDES)
    found, doubt, (_, unknown), nothing = binary_figures(near, cells)
    assert abs(found - wrong) <= doubt <= LEAST / 2
    assert unknown.all()
    assert nothing is None
    assert not len(near["cells"])

    unbinned = told(cells, block, BINS)
    assert binary_figures(unbinned, cells)[3] is None
    assert binary_figures(unbinned, cells)[0] == wrong


def test_the_confusion_of_several_classes(block: pa.RecordBatch) -> None:
    question = Confusion(BINARY, LATE)
    (sides,) = question.groupings()
    matrix = told(question, block)["rows"]
    np.testing.assert_array_equal(np.bincount(sides.codes(block), minlength=4).reshape(2, 2), matrix)
    near = told(question, block, SIDES)
    assert near["withheld"].all()
    assert not near["rows"].any()
    low, high = near["errors"]
    assert low % LEAST == 0
    assert low <= matrix[0, 1] + matrix[1, 0] <= high <= low + LEAST - 1


def test_absolute_errors(block: pa.RecordBatch) -> None:
    score = Score.linear(DESIGN, "identity", np.ones(1), 0.1)
    question = RegressionErrors(score, Target("y"))
    (signs,) = question.groupings()
    error = block["y"].to_numpy() - block["x"].to_numpy() - 0.1
    assert signs.codes(block).tolist() == (error > 0).astype(int).tolist()
    metrics = regression_metrics(told(question, block), score)
    silent = regression_metrics(told(question, block, SIGNS), score)
    assert metrics.values["mean_absolute_error"] == pytest.approx(np.abs(error).mean())
    assert silent.values["mean_absolute_error"] is None
    assert "known figure" in silent.withheld["mean_absolute_error"]
    assert silent.values["mse"] == metrics.values["mse"]


def test_only_given_out_clusters_are_groups(block: pa.RecordBatch) -> None:
    centres, moved = np.array([[-1.0], [1.0]]), np.array([[-0.9], [0.8]])
    assert ClusterSums(DESIGN, centres).groupings() == ()
    given = ClusterSums(DESIGN, moved, before=centres).groupings()
    assert [one.needed for one in given] == [True, True]
    measured = ClusterSums(DESIGN, moved, verify=False)
    (codes,) = measured.groupings()
    np.testing.assert_array_equal(np.bincount(codes.codes(block)), told(measured, block)["n"])
    assert ClusterSums(DESIGN, centres).measures() is None
    assert measured.measures() is not None


def test_what_is_measured_is_asked_alone() -> None:
    question = RegressionErrors(Score.linear(DESIGN, "identity", np.ones(1), 0.0), Target("y"))
    with pytest.raises(ConfigError, match="alone"):
        Together((question, Moments(DESIGN)))
    part = Part(question, 0.5, 1, True)
    assert part.measures().digest == question.measures().digest
    for inner in (Together, lambda parts: Part(parts[0], 0.5, 1, False)):
        with pytest.raises(ConfigError):
            inner((part,))


def test_a_digest_names_score_and_target() -> None:
    one = RegressionErrors(Score.linear(DESIGN, "identity", np.ones(1), 0.0), Target("y")).measures()
    other = RegressionErrors(Score.linear(DESIGN, "identity", np.ones(1), 1e-9), Target("y")).measures()
    again = RegressionErrors(Score.linear(DESIGN, "identity", np.ones(1), 0.0), Target("z")).measures()
    assert len({one.digest, other.digest, again.digest}) == 3
