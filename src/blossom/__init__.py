"""Blossom: one pipeline over many data platforms and many sites; raw data stays where it is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from blossom._version import __version__

if TYPE_CHECKING:
    from blossom.fedpy.connect import connect
    from blossom.fedpy.explain import Explanation
    from blossom.fedpy.loops import repeat
    from blossom.fedpy.mapping import filter, flat_map, map, map_batches, map_groups, reduce  # noqa: A004
    from blossom.fedpy.model import FittedModel, Model, load_model, predict, train
    from blossom.fedpy.operators import from_arrow, sample, zip_with_id
    from blossom.fedpy.results import Run
    from blossom.fedpy.session import Session
    from blossom.learning import (
        PCA,
        ColumnTransformer,
        GaussianNB,
        KMeans,
        LinearRegression,
        LogisticRegression,
        MinMaxScaler,
        OneHotEncoder,
        Pipeline,
        PoissonRegressor,
        Ridge,
        SimpleImputer,
        StandardScaler,
        make_pipeline,
    )
    from blossom.optimizer.budget import Budget
    from blossom.plan.errors import (
        BlossomError,
        BudgetError,
        ConfigError,
        LoopError,
        PlanError,
        PlatformError,
        PolicyError,
        Refusal,
        SiteError,
        TrainingError,
    )

_HOMES = {
    "blossom.fedpy.connect": ("connect",),
    "blossom.fedpy.explain": ("Explanation",),
    "blossom.fedpy.model": ("FittedModel", "Model", "load_model", "predict", "train"),
    "blossom.fedpy.loops": ("repeat",),
    "blossom.fedpy.mapping": ("filter", "flat_map", "map", "map_batches", "map_groups", "reduce"),
    "blossom.fedpy.operators": ("from_arrow", "sample", "zip_with_id"),
    "blossom.fedpy.results": ("Run",),
    "blossom.fedpy.session": ("Session",),
    "blossom.learning": (
        "PCA",
        "ColumnTransformer",
        "GaussianNB",
        "KMeans",
        "LinearRegression",
        "LogisticRegression",
        "MinMaxScaler",
        "OneHotEncoder",
        "Pipeline",
        "PoissonRegressor",
        "Ridge",
        "SimpleImputer",
        "StandardScaler",
        "make_pipeline",
    ),
    "blossom.optimizer.budget": ("Budget",),
    "blossom.plan.errors": (
        "BlossomError",
        "BudgetError",
        "ConfigError",
        "LoopError",
        "PlanError",
        "PlatformError",
        "PolicyError",
        "Refusal",
        "SiteError",
        "TrainingError",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PCA",
    "BlossomError",
    "Budget",
    "BudgetError",
    "ColumnTransformer",
    "ConfigError",
    "Explanation",
    "FittedModel",
    "GaussianNB",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "LoopError",
    "MinMaxScaler",
    "Model",
    "OneHotEncoder",
    "Pipeline",
    "PlanError",
    "PlatformError",
    "PoissonRegressor",
    "PolicyError",
    "Refusal",
    "Ridge",
    "Run",
    "Session",
    "SimpleImputer",
    "SiteError",
    "StandardScaler",
    "TrainingError",
    "__version__",
    "connect",
    "filter",
    "flat_map",
    "from_arrow",
    "load_model",
    "make_pipeline",
    "map",
    "map_batches",
    "map_groups",
    "predict",
    "reduce",
    "repeat",
    "sample",
    "train",
    "zip_with_id",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used, so that `import blossom` stays quick."""
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'blossom' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
