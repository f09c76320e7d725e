"""The families of attacks; importing this package registers them all."""

from tests.attacks.families import (  # noqa: F401
    admission,
    arithmetic,
    differencing,
    equations,
    errors,
    fits,
    functions,
    groups,
    joins,
    loops,
    models,
    numeric,
    predicates,
    side_channels,
    subqueries,
    written,
)
