"""The statistics that sites answer: one module each, all frozen values, known by their name on the wire."""

from blossom.learning.statistics.base import (
    REGISTRY,
    Collector,
    Guard,
    Released,
    State,
    Statistic,
    fold,
    from_message,
    to_message,
)
from blossom.learning.statistics.categories import Categories, RareCategories
from blossom.learning.statistics.cells import ScoreCells
from blossom.learning.statistics.class_moments import ClassMoments
from blossom.learning.statistics.classes import Classes
from blossom.learning.statistics.clusters import ClusterSums
from blossom.learning.statistics.combined import Part, Together
from blossom.learning.statistics.confusion import Confusion
from blossom.learning.statistics.gaps import Extremes, PresentMeans
from blossom.learning.statistics.gram import Gram
from blossom.learning.statistics.logistic import LogisticSums
from blossom.learning.statistics.moments import Moments
from blossom.learning.statistics.multinomial import MultinomialSums
from blossom.learning.statistics.poisson import PoissonSums
from blossom.learning.statistics.presence import Requirement
from blossom.learning.statistics.scores import ClassErrors, RegressionErrors

__all__ = [
    "REGISTRY",
    "Categories",
    "ClassErrors",
    "ClassMoments",
    "Classes",
    "ClusterSums",
    "Collector",
    "Confusion",
    "Extremes",
    "Gram",
    "Guard",
    "LogisticSums",
    "Moments",
    "MultinomialSums",
    "Part",
    "PoissonSums",
    "PresentMeans",
    "RareCategories",
    "RegressionErrors",
    "Released",
    "Requirement",
    "ScoreCells",
    "State",
    "Statistic",
    "Together",
    "fold",
    "from_message",
    "to_message",
]
