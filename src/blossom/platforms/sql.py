"""What platforms driven by SQL share: a fragment compiled by Ibis, and what a dialect's compiler can say."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from weakref import WeakKeyDictionary

import ibis.common.exceptions as ibis_errors
import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.sql.compilers.base import SQLGlotCompiler

from blossom.plan import relations as rel
from blossom.plan import to_ibis
from blossom.plan.errors import PlanError, PlatformError
from blossom.plan.expressions import Call, Subquery, walk
from blossom.plan.schema import Schema
from blossom.plan.wire import fingerprint

RELATIONS: tuple[type[rel.Relation], ...] = (
    rel.Scan, rel.Received, rel.Constant, rel.Project, rel.Filter, rel.Join, rel.Aggregate, rel.Sort, rel.Limit, rel.Distinct,
    rel.SetOperation, rel.Sample, rel.Unnest,
)  # fmt: skip
"""The nodes that have a form in SQL."""

PLAIN_JOINS: frozenset[str] = frozenset({"inner", "left", "right", "outer", "semi", "anti", "cross"})
"""Joins that a compiler takes or refuses whatever they join, and on what."""

KEPT = 512
"""Compiled texts that a compiler remembers by fingerprint."""

_REFUSALS = frozenset(
    {
        "UnsupportedOperationError",
        "OperationNotDefinedError",
        "UnsupportedBackendType",
        "UnsupportedArgumentError",
        "NotImplementedError",
    }
)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A fragment as SQL.

    Attributes:
        text: One SELECT.
        schema: Its columns as the plan has them.
        received: Key of each `Received` leaf -> how many times the query reads it.
        inputs: Their columns.
        tables: The published tables that it reads.
    """

    text: str
    schema: Schema
    received: Mapping[str, int]
    inputs: Mapping[str, Schema]
    tables: frozenset[str]


def received_name(key: str) -> str:
    """The name under which the compiled text reads a `Received` leaf."""
    return f"_received_{key}"


def table_leaf(node: rel.Relation) -> ops.Relation:
    """The table that a leaf is read from: a published one by its name, a received one by `received_name`."""
    if isinstance(node, rel.Scan):
        return ops.UnboundTable(name=node.table, schema=node.schema.to_ibis())
    if isinstance(node, rel.Received):
        return ops.UnboundTable(name=received_name(node.key), schema=node.schema.to_ibis())
    raise PlanError(f"{type(node).__name__} cannot be a leaf of a query")


class SqlCompiler:
    """Compiles fragments for one dialect, each once: compiling takes far longer than recognising an equal plan.

    A plan object's text is found by identity, an equal plan's (a plan that was sent again) by its fingerprint.

    Args:
        dialect: Ibis's name for it ("duckdb").
        compiler: An own compiler in place of Ibis's.
        leaf: Gives the Ibis table of a leaf.
    """

    def __init__(
        self,
        dialect: str,
        *,
        compiler: SQLGlotCompiler | None = None,
        leaf: Callable[[rel.Relation], ops.Relation] = table_leaf,
    ) -> None:
        self.dialect = dialect
        found = compiler or import_module(f"ibis.backends.sql.compilers.{dialect}").compiler
        assert isinstance(found, SQLGlotCompiler)
        self._compiler = found
        self._leaf = leaf
        self._operations = _operations(found)
        self._partial: dict[str, bool] = {}
        self._sure: set[str] = set()
        self._joins: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._compiled: WeakKeyDictionary[rel.Relation, Compiled] = WeakKeyDictionary()
        self._recent: OrderedDict[str, Compiled] = OrderedDict()

    def compile(self, fragment: rel.Relation) -> Compiled:
        """The fragment as one query.

        Raises:
            PlatformError: The dialect cannot say it.
            PlanError: The plan does not type-check.
        """
        with self._lock:
            found = self._compiled.get(fragment)
        if found is not None:
            return found
        print_ = fingerprint(fragment)
        with self._lock:
            found = self._recent.pop(print_, None)
        found = found or self._new(fragment)
        with self._lock:
            self._compiled[fragment] = self._recent[print_] = found
            while len(self._recent) > KEPT:
                self._recent.popitem(last=False)
        return found

    def _new(self, fragment: rel.Relation) -> Compiled:
        inside = [inner for node in fragment.walk() for inner in (node, *own_work(node))]
        inputs = {node.key: node.schema for node in inside if isinstance(node, rel.Received)}
        tables = frozenset(node.table for node in inside if isinstance(node, rel.Scan))
        return Compiled(self._text(fragment), fragment.schema, reads(fragment), inputs, tables)

    def _text(self, fragment: rel.Relation) -> str:
        expression = to_ibis.relation(fragment, self._leaf).to_expr()
        try:
            return self._compiler.to_sqlglot(expression).sql(dialect=self._compiler.dialect)
        except (ibis_errors.IbisError, NotImplementedError) as error:
            raise PlatformError(f"{self.dialect} cannot express this: {error}") from error

    def refusal(self, node: rel.Relation) -> str | None:
        """Why the dialect's compiler cannot express the node's own work, subqueries included; None when it can."""
        if not isinstance(node, RELATIONS):
            return f"{type(node).__name__} has no SQL form"
        trial = isinstance(node, rel.Sample | rel.Unnest | rel.SetOperation)
        if isinstance(node, rel.Join):
            hows = {link.how for link in node.links}
            trial = not hows <= PLAIN_JOINS
            reason = next(filter(None, map(self._join, sorted(hows & PLAIN_JOINS))), None)
            if reason is not None:
                return reason
        for inner in own_work(node):
            if not isinstance(inner, RELATIONS):
                return f"{type(inner).__name__} has no SQL form"
        if not node.operations <= self._sure:
            for op in sorted(node.operations):
                if op not in self._operations:
                    return f"{op} has no form in {self.dialect}"
                if self._conditional(op):
                    trial = True
                else:
                    self._sure.add(op)
        return self._trial(node) if trial else None

    def _join(self, how: str) -> str | None:
        """Why the compiler cannot express a kind of join: tried once, on two small tables."""
        if how not in self._joins:
            left, right = (rel.Received(f"side{i}", Schema([(f"c{i}", "int64")])) for i in range(2))
            equal = Call("Equals", (left.column("c0"), right.column("c1", 1)), "boolean")
            link = rel.Link(how, () if how == "cross" else (equal,))
            self._joins[how] = self._trial(rel.Join((left, right), (link,), (("c0", left.column("c0")),)))
        return self._joins[how]

    def _conditional(self, op: str) -> bool:
        """Whether the compiler takes the operation with some arguments only: its method, or one that it calls, can refuse.

        A sort key is the sign of an ordered aggregate, which the generator of aggregates may refuse.
        """
        if op not in self._partial:
            self._partial[op] = op == "SortKey" or self._can_refuse(f"visit_{op}", set())
        return self._partial[op]

    def _can_refuse(self, method: str, seen: set[str]) -> bool:
        code = getattr(getattr(self._compiler, method, None), "__code__", None)
        seen.add(method)
        if code is None:
            return False
        inner = (name for name in code.co_names if name.startswith(("_", "visit_")) and name not in seen)
        return not _REFUSALS.isdisjoint(code.co_names) or any(self._can_refuse(name, seen) for name in inner)

    def _trial(self, node: rel.Relation) -> str | None:
        leaves = tuple(rel.Received(f"input{i}", child.schema) for i, child in enumerate(node.inputs))
        try:
            self._text(node.with_inputs(leaves))
        except (PlanError, PlatformError) as error:
            return error.what
        return None


def _operations(compiler: SQLGlotCompiler) -> frozenset[str]:
    """The value operations for which a compiler has a rule of any kind."""
    rewritten = {operation.__name__ for operation in (*compiler.extra_supported_ops, *compiler.lowered_ops)}
    undefined = SQLGlotCompiler.visit_Undefined
    return frozenset(
        name
        for name in to_ibis.operations()
        if name in rewritten or getattr(type(compiler), f"visit_{name}", undefined) is not undefined
    )


def own_work(node: rel.Relation) -> Iterator[rel.Relation]:
    """The relations inside the node's subqueries, at any depth."""
    if not node.holds_subquery:
        return
    for expression in node.expressions():
        for part in walk(expression):
            if isinstance(part, Subquery):
                for inner in part.plan.walk():
                    yield inner
                    yield from own_work(inner)


def reads(fragment: rel.Relation) -> Counter[str]:
    """How many times the query of a fragment reads each `Received` leaf, shared nodes counted at each use."""
    done: dict[int, Counter[str]] = {}
    for node in fragment.walk():
        count: Counter[str] = Counter()
        if isinstance(node, rel.Received):
            count[node.key] = 1
        for child in node.inputs:
            count.update(done[id(child)])
        for expression in node.expressions():
            for part in walk(expression):
                if isinstance(part, Subquery):
                    # an engine may read a correlated subquery's tables once a row: count it as more than once
                    inner = reads(part.plan)
                    count.update(inner)
                    count.update(inner)
        done[id(node)] = count
    return done[id(fragment)]


class Interruption:
    """An engine's interrupt that does nothing once its run has ended: the connection may then serve another one."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt: Callable[[], None] | None = interrupt
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            if self._interrupt is not None:
                self._interrupt()

    def end(self) -> None:
        """From here on, calls do nothing."""
        with self._lock:
            self._interrupt = None


class WatchedInputs:
    """The readers of a fragment's inputs, remembering the first error raised in one while an engine pulled it.

    Engines turn an exception inside a stream into text of their own; `error` keeps the original.
    """

    def __init__(self, inputs: Mapping[str, pa.RecordBatchReader]) -> None:
        self._error: Exception | None = None
        self.readers = {key: self._watch(reader) for key, reader in inputs.items()}

    @property
    def error(self) -> Exception | None:
        """The first error that a reader raised."""
        return self._error

    def _watch(self, reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from reader
            except Exception as error:
                self._error = self._error or error
                raise

        return pa.RecordBatchReader.from_batches(reader.schema, batches())


def missing_inputs(received: Iterable[str], inputs: Mapping[str, pa.RecordBatchReader], where: str) -> None:
    """Refuse a run that lacks the rows of a `Received` leaf, of which the keys are given."""
    missing = sorted(set(received) - set(inputs))
    if missing:
        raise PlatformError(f"no rows were given for {', '.join(missing)}", where=where)
