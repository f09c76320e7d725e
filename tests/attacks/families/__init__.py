"""The families of attacks; importing this package registers them all."""

from tests.attacks.families import (  # noqa: F401
    admission,
    arithmetic,
    differencing,
    errors,
    fits,
    functions,
    groups,
    joins,
    models,
    numeric,
    predicates,
    side_channels,
    subqueries,
    written,
)
