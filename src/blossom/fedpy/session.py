"""The session: an Ibis backend over a federation. Every way to get data goes through `run`."""
# pyright: basic, reportIncompatibleMethodOverride=false, reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends import BaseBackend

from blossom._version import __version__
from blossom.executor.federation import Federation, require_table
from blossom.executor.keeping import Keeper, first_state
from blossom.executor.loops import Looping
from blossom.executor.planner import Planned, Planner
from blossom.executor.records import RunRecords
from blossom.executor.run import Execution
from blossom.executor.spending import Account, Spending, Spent
from blossom.executor.training import Trainer, Training
from blossom.fedpy import display
from blossom.fedpy.asking import located, users_line
from blossom.fedpy.conforming import conform, conform_stream
from blossom.fedpy.explain import Explanation, FitNote
from blossom.fedpy.listing import Listing
from blossom.fedpy.outline import explained, explained_fit, fit_note
from blossom.fedpy.results import Run
from blossom.fedpy.writing import write
from blossom.learning import Fitted
from blossom.learning.metrics import Metrics
from blossom.optimizer.budget import Budget, tighter
from blossom.optimizer.physical import Location
from blossom.optimizer.pins import Pins, location
from blossom.plan import from_ibis, sql
from blossom.plan import operators as own
from blossom.plan.errors import BlossomError, BudgetError, PlanError, PolicyError
from blossom.plan.loops import loops, one_turn
from blossom.plan.relations import Relation, Train
from blossom.plan.schema import Schema
from blossom.sites.config.model import HUB

_sessions = itertools.count()
_open: weakref.WeakSet[Session] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Engines that are still open when the interpreter goes down complain on stderr."""
    for session in list(_open):
        with contextlib.suppress(BlossomError):
            session.disconnect()


class Session(BaseBackend):
    """A federation as an Ibis backend; made by `blossom.connect`.

    Example:
        >>> import blossom as bl
        >>> fed = bl.connect({"sites": {"north": {}}})
        >>> fed.list_tables()
        []
    """

    name = "blossom"
    dialect = None  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        federation: Federation | None = None,
        records: RunRecords | None = None,
        title: str = "",
        account: Account | None = None,
    ) -> None:
        super().__init__()
        if federation is None or records is None:
            raise PlanError("a session is made by blossom.connect")
        self.federation = federation
        self.records = records
        self.title = title
        self.account = account or Account()
        self.last_run: Run | None = None
        self.progress: Callable[[str], None] | None = None
        self._number = next(_sessions)
        _open.add(self)
        self._planner = Planner(federation)
        self._trainer = Trainer(federation, self._planner)
        self._local: dict[str, str] = {}
        self._started: weakref.WeakSet[Run] = weakref.WeakSet()

    # -- what Ibis asks of a backend -----------------------------------------------------------------------------------

    @property
    def db_identity(self) -> str:
        """Two sessions are never the same backend: tables of one cannot be mixed with tables of the other."""
        return f"blossom-{self._number}"

    @property
    def version(self) -> str:
        """Blossom's version."""
        return __version__

    def __reduce__(self) -> Any:
        raise TypeError("a session cannot be pickled")

    def disconnect(self) -> None:
        """Stop what still runs, close every engine and forget private temporary state; idempotent."""
        for run in list(self._started):
            run.cancel()
        self.federation.close()
        self.records.close()

    close = disconnect

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def list_tables(self, *, like: str | None = None, database: str | None = None) -> list[str]:
        """Names of the federated tables (of one site's with `database`)."""
        tables = self.federation.tables
        names = [name for name, table in tables.items() if database is None or database in table.parts]
        return self._filter_with_like(names, like)

    def table(self, name: str, /, *, site: str | None = None, database: str | None = None) -> ir.Table:
        """A federated table: the union of all sites that publish it, or one site's part.

        Args:
            name: The table.
            site: Only this site's part.
            database: The same as `site`, under Ibis's name.

        Raises:
            PlanError: No such table; names the nearest.
        """
        site = site or database
        schema = require_table(self.federation, name, site)
        return self._table(name, schema, site)

    def _table(self, name: str, schema: Schema, site: str | None) -> ir.Table:
        return ops.DatabaseTable(
            name, schema=schema.to_ibis(), source=self, namespace=ops.Namespace(database=site)
        ).to_expr()

    @classmethod
    def has_operation(cls, operation: type[ops.Value], /) -> bool:
        """Any operation that some platform can run; which, the planner finds out."""
        return True

    def compile(
        self,
        expr: ir.Expr,
        /,
        *,
        limit: int | None = None,
        params: Mapping[Any, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """The plan as text: what Blossom has instead of one SQL string."""
        return str(self.explain(expr, params=params))

    def _register_in_memory_table(self, op: ops.InMemoryTable) -> None:
        self._keep(op)

    def _make_memtable_finalizer(self, name: str) -> None:
        return None

    def _keep(self, op: ops.InMemoryTable) -> str:
        if self.federation.hub.kept(op.name) is None:
            self.federation.hub.keep(op.name, op.data.to_pyarrow(op.schema))
        return op.name

    def _unsupported(self, what: str, instead: str) -> PlanError:
        return PlanError(f"a session cannot {what}", hint=instead)

    def create_table(self, *args: Any, **kwargs: Any) -> ir.Table:
        """Not supported: results live where their rows may live."""
        raise self._unsupported("create a table", "use fed.write(expr, table=..., site=...)")

    def drop_table(self, *args: Any, **kwargs: Any) -> None:
        """Not supported: a table belongs to its site's owner."""
        raise self._unsupported("drop a table", "its owner removes it from the site's configuration")

    def create_view(self, *args: Any, **kwargs: Any) -> ir.Table:
        """Not supported."""
        raise self._unsupported("create a view", "keep the Ibis expression in a variable")

    def drop_view(self, *args: Any, **kwargs: Any) -> None:
        """Not supported."""
        raise self._unsupported("drop a view", "there are none")

    # -- tables --------------------------------------------------------------------------------------------------------

    def from_arrow(self, data: Any, *, name: str | None = None) -> ir.Table:
        """A local table (Arrow, pandas, Polars) as a table of this session; it stays at the hub until a plan needs it."""
        table = (
            data
            if isinstance(data, pa.Table)
            else ibis.memtable(data).op().data.to_pyarrow(ibis.memtable(data).schema())
        )
        name = name or f"local_{len(self._local)}"
        if name in self.federation.tables or self.federation.hub.kept(name) is not None:
            raise PlanError(f"there is already a table {name!r}", hint="choose another name")
        self._local[name] = name
        self.federation.hub.keep(name, table)
        return self._table(name, Schema.from_pyarrow(table.schema), HUB)

    def sql(self, query: str, /, *, schema: Any = None, dialect: str | None = None) -> ir.Table:
        """An Ibis table from a SELECT in DuckDB's dialect: a second door to the same plan, through the same policy.

        Raises:
            PlanError: A construct that is not supported, named.
        """
        return sql.parse(query, lambda name, site: self.table(name, site=site), self.list_tables)

    def catalog(self) -> Listing:
        """Tables by site: columns, who publishes them, how they are partitioned, and what may leave."""
        return Listing.of_tables(self.federation)

    def sites(self) -> Listing:
        """The sites, their platforms and tables."""
        return Listing.of_sites(self.federation)

    # -- plans and runs ------------------------------------------------------------------------------------------------

    def _lower(self, expr: ir.Expr, params: Mapping[Any, Any] | None) -> Relation:
        values = {p.op(): v for p, v in (params or {}).items()}
        return from_ibis.relation(expr.as_table().op(), parameters=values, in_memory=self._keep)

    def resolved(self, expr: ir.Expr, run: Run, params: Mapping[Any, Any] | None = None) -> Relation:
        """The logical plan with every model fitted and every loop run, as part of a run."""
        looping = self._looping(run)
        with self._trainer.watched(run.event, run.fits, looping.resolve):
            return looping.resolve(self._trainer.resolve(self._lower(expr, params)))

    def _looping(self, run: Run) -> Looping:
        """Runs the loops of a run; what they keep goes when it ends."""
        keeper = Keeper(self.federation, self._planner, run.id, run.cancellation, run.extra_releases)
        run.at_end.append(keeper.close)
        return Looping(keeper, self._trainer.resolve, run.event)

    @property
    def spent(self) -> Spent:
        """What the session's runs have taken: seconds, and usd by the prices of the configuration."""
        return self.account.spent

    @property
    def remaining(self) -> Budget | None:
        """What is left of the session's budget, without what running ones may still take; None where it has none."""
        return self.account.remaining

    def _known(
        self,
        expr: ir.Expr,
        params: Mapping[Any, Any] | None,
        *,
        fit: bool,
        budget: Budget | None,
        pins: Pins | None = None,
    ) -> Planned:
        """The plan within the call's budget, as it was made before if it was."""
        key = (expr.as_table().op(), tuple(sorted((str(k), repr(v)) for k, v in (params or {}).items())))

        def lower() -> Relation:
            logical = self._lower(expr, params)
            return self._trainer.resolve(logical) if fit else self._outlined(logical)

        return self._planner.planned((*key, fit), lower, budget=budget, pins=pins)

    def _planned(
        self,
        expr: ir.Expr,
        params: Mapping[Any, Any] | None,
        *,
        fit: bool,
        budget: Budget | None = None,
        pins: Pins | None = None,
    ) -> Planned:
        """The plan within the call's budget and what is left of the session's."""
        planned = self._known(expr, params, fit=fit, budget=budget, pins=pins)
        remaining, physical = self.remaining, planned.physical
        if remaining is None or remaining.holds(physical.seconds_high, physical.usd_high):
            return planned
        with self._of_session():
            return self._planner.plan(planned.logical, budget=tighter(budget, remaining), pins=pins)

    @contextlib.contextmanager
    def _of_session(self) -> Generator[None]:
        """Say in a refusal what the session had, and has spent."""
        try:
            yield
        except BudgetError as error:
            limit = f"the session's budget is {self.account.limit}, of which {self.spent} are spent"
            error.hint = "; ".join(filter(None, (error.hint, limit)))
            raise

    def counted(self, run: Run, budget: Budget | None = None) -> Spending:
        """The run's spending, until it ends."""
        spending = Spending(
            self.federation.prices, self.federation.warm, tighter(budget, self.remaining), self.account
        )
        run.spending = spending
        run.at_end.append(spending.close)
        return spending

    def _outlined(self, logical: Relation) -> Relation:
        """The plan without its fits, and with one turn of each loop."""
        return one_turn(
            self._trainer.outline(logical), lambda start: first_state(self.federation, self._planner, start)
        )

    @located()
    def explain(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Mapping[Any, Any] | None = None,
        analyze: bool = False,
        budget: Budget | None = None,
        pins: Mapping[int, Location | str] | None = None,
    ) -> Explanation:
        """Who would run what, on which engine, and why. Releases nothing and trains nothing, unless `analyze` runs it.

        Args:
            expr: An Ibis table, column or value of this session.
            params: Values of scalar parameters.
            analyze: Run it, and show what each fragment really took.
            budget: What it may take.
            pins: Operators placed by hand, {number: "platform@site"}; `explain(expr).plan.operators()` lists the numbers.

        Raises:
            PlanError: It cannot be expressed, or no plan obeys the pins.
            PolicyError: No compliant plan exists.
            BudgetError: No plan fits the budget, or what is left of the session's.
        """
        pinned = _pinned(expr, pins)
        logical = self._lower(expr, params)
        if isinstance(logical, Train):
            if budget is not None:
                raise PlanError(
                    "what a fit takes is not known before its rounds are made, so no plan of it is chosen by a budget",
                    where="explain",
                    hint="give the session a budget (bl.connect(..., budget=...)): it stops fits that take too much",
                )
            if analyze:
                self.fit(logical)
            known = self._trainer.known(logical)
            plan = self._trainer.training_plan(logical) if known is None else known.plan
            return explained_fit(logical, plan, known, self.federation)
        if analyze:
            run = self.run(expr, params=params, budget=budget, pins=pins)
            return run.explain()
        return explained(
            self._planned(expr, params, fit=False, budget=budget, pins=pinned),
            self.federation,
            notes=_loop_notes(logical),
            trainings=self._trainings(logical),
        )

    def run(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Mapping[Any, Any] | None = None,
        strict: bool = False,
        progress: Callable[[str], None] | None = None,
        budget: Budget | None = None,
        pins: Mapping[int, Location | str] | None = None,
    ) -> Run:
        """Run a pipeline to the end.

        Args:
            expr: An Ibis table, column or value of this session.
            params: Values of scalar parameters.
            strict: Raise when a site withheld cells, instead of telling it in `Run.withheld`.
            progress: Called with one line at each step of long work.
            budget: What it may take, within what is left of the session's.
            pins: Operators placed by hand, {number: "platform@site"}, as in `explain`; a re-planned rest obeys them too.

        Returns:
            Run: `.result` (Arrow), `.withheld`, `.events`, `.releases`, `.spent`, `.report()`.

        Raises:
            PolicyError: A site refuses, or `strict` and cells were withheld.
            BudgetError: No plan fits the budget, and nothing ran; or the run was stopped before it took more.
            BlossomError: Any other fault, one of the family.
        """
        run, reader = self._start(expr, params, progress, budget, whole=True, pins=_pinned(expr, pins))
        with run:
            table = conform(reader.read_all(), _arrow_schema(expr))
        run.finish(table)
        if strict:
            self._strictly(run)
        return run

    def _strictly(self, run: Run) -> None:
        held = sorted(site for site, withheld in run.withheld.items() if withheld)
        if held:
            hint = "they describe fewer units than the owner's min_group; use larger groups, or strict=False"
            error = PolicyError(
                f"cells were withheld at {', '.join(held)}",
                hint="; ".join(filter(None, (hint, run.advice()))),
            )
            error.at = users_line()
            raise error

    def _start(
        self,
        expr: ir.Expr,
        params: Mapping[Any, Any] | None,
        progress: Callable[[str], None] | None = None,
        budget: Budget | None = None,
        *,
        whole: bool = False,
        pins: Pins | None = None,
    ) -> tuple[Run, pa.RecordBatchReader]:
        run = Run(
            self.federation, self.records, text=_pipeline_text(expr), progress=progress or self.progress
        )
        self.last_run = run
        self._started.add(run)
        with run.failing(), self.counted(run, budget).current():
            planned = self._fitted_plan(run, expr, params, budget, pins)
            execution = Execution(
                self.federation,
                planned.physical,
                run.id,
                planned.hash,
                cancellation=run.cancellation.child(),
                rest=self._planner.rest(planned),
                whole=whole,
            )
            run.begin(planned, execution)
            return run, execution.reader()

    def _fitted_plan(
        self,
        run: Run,
        expr: ir.Expr,
        params: Mapping[Any, Any] | None,
        budget: Budget | None,
        pins: Pins | None,
    ) -> Planned:
        """The plan with every model fitted; nothing is fitted for a plan that is refused anyway."""
        with self.account.deciding():
            if run.spending is not None:
                run.spending.budget = tighter(budget, self.remaining)
            planned = self._planned(expr, params, fit=False, budget=budget, pins=pins)
            run.hold(planned)
        if expr.op().find(own.Repeat):
            return self._planner.plan(self.resolved(expr, run, params), budget=budget)
        if not expr.op().find(own.Train):
            return planned
        with self._trainer.watched(run.event, run.fits):
            return self._known(expr, params, fit=True, budget=budget)

    def _trainings(self, logical: Relation) -> list[FitNote]:
        notes: list[FitNote] = []
        for node in logical.walk():
            if isinstance(node, Train):
                known = self._trainer.known(node)
                plan = self._trainer.training_plan(node) if known is None else known.plan
                notes.append(fit_note(node, plan, known))
        return notes

    # -- models --------------------------------------------------------------------------------------------------------

    def fit(self, node: Train) -> Training:
        """Fit a model's node, or give the one fitted before."""
        run = Run(
            self.federation, self.records, text=f"fit of {node.target}", kind="fit", progress=self.progress
        )
        with self._trainer.watched(run.event, run.fits, self._looping(run).resolve):
            known = self._trainer.known(node)
            if known is not None:
                return known
            self.last_run = run
            with run.failing(), self.counted(run).current():
                training = self._trainer.fit(node)
                run.finish(None)
                return training

    def evaluate(self, fitted: Fitted, table: ir.Table) -> Metrics:
        """Metrics of a fitted model on a table, computed where its rows are."""
        run = Run(
            self.federation,
            self.records,
            text="evaluation of a model",
            kind="evaluate",
            progress=self.progress,
        )
        self.last_run = run
        with (
            run.failing(),
            self.counted(run).current(),
            self._trainer.watched(run.event, run.fits),
        ):
            metrics = self._trainer.evaluate(fitted, self._lower(table, None))
            run.finish(None)
            return metrics

    # -- Ibis's ways to get data -----------------------------------------------------------------------------------------

    def to_pyarrow(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Mapping[Any, Any] | None = None,
        limit: int | str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The result as an Arrow table, array or scalar."""
        return _shaped(expr, self.run(_limited(expr, limit), params=params, **kwargs).result)

    def to_pyarrow_batches(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Mapping[Any, Any] | None = None,
        limit: int | str | None = None,
        chunk_size: int = 1_000_000,
        budget: Budget | None = None,
        **kwargs: Any,
    ) -> pa.RecordBatchReader:
        """The result as a stream: nothing is collected, so it may be larger than memory."""
        run, reader = self._start(_limited(expr, limit), params, budget=budget)
        return run.stream(conform_stream(reader, _arrow_schema(expr), chunk_size))

    def execute(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Mapping[Any, Any] | None = None,
        limit: int | str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The result as a pandas DataFrame, Series or a Python value."""
        run = self.run(_limited(expr, limit), params=params, **kwargs)
        result = _shaped(expr, run.result)
        if isinstance(expr, ir.Scalar):
            return result.as_py()
        if isinstance(expr, ir.Column):
            return result.to_pandas().rename(expr.get_name())
        frame = result.to_pandas()
        frame.attrs["withheld"] = dict(run.withheld)
        return frame

    def to_parquet(
        self, expr: ir.Table, /, path: str | Path, *, params: Mapping[Any, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write the result to one Parquet file, streamed; the file appears whole or not at all.

        Raises:
            BlossomError: The pipeline failed, or the file cannot be written.
        """
        import pyarrow.parquet as pq

        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with (
                self.to_pyarrow_batches(expr, params=params) as reader,
                pq.ParquetWriter(temporary, reader.schema, **kwargs) as writer,
            ):
                for batch in reader:
                    writer.write_batch(batch)
            temporary.replace(target)
        except OSError as error:
            raise BlossomError(
                f"the result cannot be written: {error.strerror or error}",
                where=str(target),
                hint="check the folder and the free space",
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def write(self, expr: ir.Table, /, *, table: str, site: str | None = None) -> Run:
        """Keep a result as a table of the federation: at `site`, or each part where its rows are.

        Results may live only where their rows may live; the policy of what they were made from is inherited.
        """
        run = write(self, expr, table=table, site=site)
        self.refresh()
        return run

    def refresh(self) -> None:
        """Ask the sites again what they publish."""
        self.federation.refresh()
        self._planner.forget()


def _shaped(expr: ir.Expr, table: pa.Table) -> Any:
    """A whole result as the expression's kind asks for it: table, array or scalar."""
    if isinstance(expr, ir.Table):
        return table
    column = table.column(0)
    if isinstance(expr, ir.Scalar):
        return column[0] if len(column) else pa.scalar(None, column.type)
    return column.combine_chunks()


def _limited(expr: ir.Expr, limit: int | str | None) -> ir.Expr:
    if limit == "default":
        limit = ibis.options.sql.default_limit
    return expr if limit is None else expr.as_table().limit(int(limit))


def _pipeline_text(expr: ir.Expr) -> str:
    names: Iterable[str] = sorted(
        {node.name for node in expr.op().find(ops.DatabaseTable) if not isinstance(node, own.State)}
    )
    return f"{type(expr).__name__.lower()} of {', '.join(names) or 'constants'}"


def _loop_notes(logical: Relation) -> list[str]:
    """How often the loops of a plan turn, of which the explanation shows one turn each."""
    return [
        f"a loop: one of {loop.times} turns is shown"
        if loop.until is None
        else f"a loop: one turn is shown; it turns until its condition is met, at most {loop.times} times"
        for loop in loops(logical)
    ]


def _pinned(expr: ir.Expr, pins: Mapping[int, Location | str] | None) -> Pins:
    """The pins of a call; the operators of a plan with a loop or a fit are known only when those have run."""
    if pins and expr.op().find((own.Repeat, own.Train)):
        raise PlanError(
            "pins are for pipelines without loops and models",
            where="pins",
            hint="collect the loop's or the model's result first, and pin what is done with it",
        )
    return {number: location(at) if isinstance(at, str) else at for number, at in (pins or {}).items()}


def _arrow_schema(expr: ir.Expr) -> pa.Schema:
    return Schema.from_ibis(expr.as_table().schema()).to_pyarrow()


display.install(Session)
