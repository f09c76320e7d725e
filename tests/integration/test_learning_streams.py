"""A site's answer is one pass in bounded memory: 3 GB of rows under a limit of a quarter of that, checks included."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, resource, sys
import numpy as np, pyarrow as pa
from blossom.learning import answer
from blossom.learning.design import Design, Numeric
from blossom.learning.statistics import ClassMoments, ClusterSums, Gram, Together
from blossom.learning.target import Target

ROWS, BATCHES, COLUMNS, READ = 65536, 190, 32, 8
limit = 768 << 20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
base = np.random.default_rng(0).normal(size=(COLUMNS, ROWS)) + 3.0
names = [f"x{i}" for i in range(COLUMNS)]
sent = 0

def high_water():
    # not ru_maxrss: that also remembers how large the process was that this one was forked from
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def batches():
    global sent
    for number in range(BATCHES):
        columns = {name: base[i] + 1e-3 * number for i, name in enumerate(names)}
        ids = np.arange(number * ROWS, (number + 1) * ROWS) // 2
        batch = pa.RecordBatch.from_pydict({**columns, "k": (ids % 3), "id": ids})
        sent += batch.nbytes
        yield batch

design = Design(tuple(Numeric(name, 3.0) for name in names[:READ]))
target = Target("k", (0, 1, 2))
question = Together((Gram(design, None), ClassMoments(design, target), ClusterSums(design, np.eye(3, READ))))
gram, classes, clusters = question.separate(answer(question, batches(), ("id",), 10))
print(json.dumps({
    "bytes": sent,
    "peak": high_water(),
    "rows": [int(gram["n"][0]), int(classes["n"].sum()), int(clusters["n"].sum())],
    "mean": float(gram["sums"][0] / gram["n"][0]),
    "expected": float(base[0].mean() - 3.0 + 1e-3 * (BATCHES - 1) / 2),
}))
"""


def test_three_gigabytes_in_a_quarter_of_the_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600, check=False,
        env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] > 3 << 30
    assert told["peak"] < 768 << 20
    assert told["rows"] == [65536 * 190] * 3
    assert abs(told["mean"] - told["expected"]) < 1e-9
