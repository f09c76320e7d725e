"""Federated machine learning: estimators, the statistics that sites answer, fitted models, metrics."""

from blossom.learning.bayes import GaussianNB
from blossom.learning.compose import ColumnTransformer, Pipeline, make_pipeline
from blossom.learning.estimator import Estimator, clone, estimator_from_document
from blossom.learning.fit import FitOptions, fit, resolve, steps
from blossom.learning.imputation import SimpleImputer
from blossom.learning.kmeans import KMeans
from blossom.learning.linear import LinearRegression, Ridge
from blossom.learning.logistic import LogisticRegression
from blossom.learning.metrics import Metrics
from blossom.learning.model import Fitted, fitted_from_document, load_model
from blossom.learning.pca import PCA
from blossom.learning.poisson import PoissonRegressor
from blossom.learning.prediction import outputs, predictor, transformed
from blossom.learning.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from blossom.learning.site import answer
from blossom.learning.split import split
from blossom.learning.statistics import State, Statistic, fold

__all__ = [
    "PCA",
    "ColumnTransformer",
    "Estimator",
    "FitOptions",
    "Fitted",
    "GaussianNB",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "Metrics",
    "MinMaxScaler",
    "OneHotEncoder",
    "Pipeline",
    "PoissonRegressor",
    "Ridge",
    "SimpleImputer",
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
    "transformed",
]
