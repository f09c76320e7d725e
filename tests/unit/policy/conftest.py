"""A small clinic, judged and run: patients and visits are private, countries may leave, `received` came from the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import duckdb
import ibis
import ibis.backends.sql.compilers.duckdb as compilers
import numpy as np
import pyarrow as pa
import pytest

from blossom.plan import from_ibis, to_ibis
from blossom.plan.expressions import Expression, Subquery, transform
from blossom.plan.rebuilding import rewrite
from blossom.plan.relations import Received, Relation, Scan
from blossom.policy.cells import Cells
from blossom.policy.gate import gate
from blossom.policy.guards import Guarded
from blossom.policy.judge import Verdict, judge
from blossom.policy.ledger import Book
from blossom.policy.model import ColumnPolicy, Recipient, TablePolicy
from blossom.policy.release import Decision, decide
from blossom.policy.sketch import Hashing

HASHING = Hashing(bytes(range(32)))

PATIENTS = {
    "pid": "int64",
    "name": "string",
    "sex": "string",
    "age": "int64",
    "city": "string",
    "country": "string",
    "salary": "int64",
    "bonus": "float64",
    "admitted": "date",
    "secret": "int64",
}
VISITS = {"vid": "int64", "pid": "int64", "diagnosis": "string", "cost": "float64"}
COUNTRIES = {"country": "string", "gdp": "float64"}


HUB = Recipient("hub")


@dataclass
class Clinic:
    """The tables as Ibis sees them, and the site's policies."""

    patients: ibis.Table
    visits: ibis.Table
    countries: ibis.Table
    lookup: ibis.Table
    policies: dict[str, TablePolicy]

    def plan(self, table: ibis.Table) -> Relation:
        """The plan of an expression; tables called received_... become what came from elsewhere."""

        def subquery(node: Expression) -> Expression | None:
            if not isinstance(node, Subquery):
                return None
            needle = node.needle and transform(node.needle, subquery)
            return replace(node, plan=rewrite(node.plan, leaf), needle=needle)

        def leaf(node: Relation) -> Relation:
            if isinstance(node, Scan) and node.table.startswith("received"):
                return Received(node.table, node.columns)
            return node.map_expressions(lambda expression: transform(expression, subquery))

        return rewrite(from_ibis.relation(table.op()), leaf)

    def judge(self, table: ibis.Table, recipient: Recipient = HUB) -> Verdict:
        return judge(self.plan(table), self.policies, recipient, "north")

    def refused(self, table: ibis.Table, rule: str, column: str | None = None) -> None:
        """The expression is refused, by this rule (on this column)."""
        verdict = self.judge(table)
        found = [(refusal.rule, refusal.column) for refusal in verdict.refusals]
        assert not verdict.allowed
        assert verdict.plan is None
        assert verdict.release is None
        assert any(r == rule and (column is None or c == column) for r, c in found), found

    def allowed(self, table: ibis.Table, release: str = "aggregates") -> Guarded:
        """The expression is allowed, in this form."""
        verdict = self.judge(table)
        assert not verdict.refusals, "\n".join(map(str, verdict.refusals))
        assert verdict.release == release
        assert verdict.plan is not None
        return verdict.plan


@pytest.fixture
def clinic() -> Clinic:
    """Policies: units are patients, groups of three; sex and city may be computed with, salary may not."""
    free = ColumnPolicy(transform=True)
    policies = {
        "patients": TablePolicy(
            release="aggregates",
            min_group=3,
            privacy_unit="pid",
            columns={
                "name": ColumnPolicy(release="none", filter=False, key=False),
                "secret": ColumnPolicy(release="aggregates", filter=False, transform=True),
                "admitted": ColumnPolicy(release="rows"),
                "sex": free,
                "city": free,
                "age": free,
            },
            training="updates",
        ),
        "visits": TablePolicy(
            release="aggregates",
            min_group=3,
            privacy_unit="pid",
            columns={"diagnosis": free},
        ),
        "countries": TablePolicy(release="rows"),
    }
    return Clinic(
        ibis.table(PATIENTS, name="patients"),
        ibis.table(VISITS, name="visits"),
        ibis.table(COUNTRIES, name="countries"),
        ibis.table({"k": "int64", "city": "string", "w": "float64"}, name="received_lookup"),
        policies,
    )


Run = Callable[..., tuple[pa.Table, int]]


@pytest.fixture
def run() -> Run:
    """Run a guarded plan in DuckDB over given tables; gives the result and the number of withheld cells.

    Without a ledger's book only the smallest group is asked for; with one, all rules are.
    """

    def running(plan: Guarded, book: Book | None = None, **tables: pa.Table) -> tuple[pa.Table, int]:
        con = duckdb.connect(config={"threads": 1})
        try:
            for name, table in tables.items():
                con.register(name, table)

            def execute(root: Relation) -> pa.Table:
                def leaf(node: Relation):
                    assert isinstance(node, Scan | Received)
                    name = node.table if isinstance(node, Scan) else node.key
                    return ibis.table(dict(node.schema), name=name).op()

                op = to_ibis.relation(root, leaf)
                sql = compilers.compiler.to_sqlglot(op.to_expr()).sql(dialect="duckdb")
                return con.sql(sql).to_arrow_table()

            withheld = 0
            for stage in plan.stages:
                result = execute(stage.query)
                cells = Cells(
                    result.select(list(stage.keys)),
                    [result[facet.control].to_numpy() for facet in stage.facets],
                    stage.units,
                    stage.facets,
                    HASHING,
                )
                cells.read(lambda stage=stage: execute(stage.detail).to_batches())
                if book is None:
                    shown = np.zeros(cells.number, np.bool_)
                    shown[cells.judged[~cells.few()]] = True
                    decision = Decision(shown, {}, ())
                else:
                    decision = decide(cells, result.select(list(stage.keys)), book)
                    book.add(decision.figures)
                passed = gate(result, stage, decision)
                withheld += result.num_rows - passed.num_rows
                con.register(stage.key, passed)
            return execute(plan.root), withheld
        finally:
            con.close()

    return running
