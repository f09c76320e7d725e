"""Federated machine learning: estimators, the statistics that sites answer, fitted models, metrics."""

from blossom.learning.compose import ColumnTransformer, Pipeline, make_pipeline
from blossom.learning.estimator import Estimator, clone, estimator_from_document
from blossom.learning.fit import FitOptions, fit, resolve, steps
from blossom.learning.linear import LinearRegression, LogisticRegression, Ridge
from blossom.learning.model import Fitted, fitted_from_document, load_model, outputs, predictor
from blossom.learning.preprocessing import OneHotEncoder, StandardScaler
from blossom.learning.site import answer
from blossom.learning.split import split
from blossom.learning.statistics import State, Statistic, fold

__all__ = [
    "ColumnTransformer",
    "Estimator",
    "FitOptions",
    "Fitted",
    "LinearRegression",
    "LogisticRegression",
    "OneHotEncoder",
    "Pipeline",
    "Ridge",
    "StandardScaler",
    "State",
    "Statistic",
    "answer",
    "clone",
    "estimator_from_document",
    "fit",
    "fitted_from_document",
    "fold",
    "load_model",
    "make_pipeline",
    "outputs",
    "predictor",
    "resolve",
    "split",
    "steps",
]
