"""Blossom's own operators as Ibis relations, so that they chain with ordinary Ibis before and after."""
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportAssignmentType=false, reportGeneralTypeIssues=false

from __future__ import annotations

from ibis.common.annotations import attribute
from ibis.common.collections import FrozenOrderedDict
from ibis.common.typing import VarTuple
from ibis.expr.operations.relations import DatabaseTable, Relation
from ibis.expr.schema import Schema


class MapBatches(Relation):
    """A Python function over the rows of `parent`; named by content hash, the function itself stays with the session."""

    parent: Relation
    name: str
    digest: str
    parameters: str
    per: str
    schema: Schema
    format: str = "arrow"
    by: VarTuple[str] = ()
    values = FrozenOrderedDict()


class State(DatabaseTable):
    """The state of a loop inside its body and its condition; `name` is its key. A table of the session, so that all operators work."""


class Repeat(Relation):
    """A loop: `parent` is its first state, `body` the next one; see `relations.Repeat`."""

    parent: Relation
    body: Relation
    until: Relation | None
    times: int
    key: str
    schema: Schema
    values = FrozenOrderedDict()


class Model(Relation):
    """A fitted model as a one-row relation holding its JSON document."""

    document: str
    values = FrozenOrderedDict()

    @attribute
    def schema(self) -> Schema:
        """One column, `model`."""
        return Schema({"model": "string"})


class Train(Relation):
    """A model to be fitted on `parent`: a one-row relation holding its JSON document."""

    parent: Relation
    estimator: str
    target: str
    features: VarTuple[str]
    options: str
    values = FrozenOrderedDict()

    @attribute
    def schema(self) -> Schema:
        """One column, `model`."""
        return Schema({"model": "string"})


class Predict(Relation):
    """The rows of `parent` with the model's outputs appended."""

    parent: Relation
    model: Relation
    features: VarTuple[str]
    outputs: Schema

    @attribute
    def values(self) -> FrozenOrderedDict:
        """The parent's columns stay dereferenceable through this node."""
        return self.parent.fields

    @attribute
    def schema(self) -> Schema:
        """The parent's columns, then the outputs."""
        return Schema({**self.parent.schema.fields, **self.outputs.fields})
