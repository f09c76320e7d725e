"""Which flights will arrive late? One pipeline over three airports, whose rows stay where they are.

`make demo` prepares the airports and runs this; later: python examples/flights.py .demo/blossom.toml
"""

from __future__ import annotations

import sys

import ibis.expr.types as ir
from ibis import _

import blossom as bl

WEATHER = ["temp", "humid", "wind_speed", "precip", "visib"]
NUMBERS = ["hour", "distance", *WEATHER]


def features(fed: bl.Session) -> ir.Table:
    """One row a flight that arrived: what was known at its scheduled hour, and whether it was 15 minutes late or more."""
    weather = fed.table("weather").select("origin", "time_hour", *WEATHER)
    # One gauge once reads 1048 miles an hour.
    weather = weather.filter(_.temp.notnull(), _.humid.notnull(), _.wind_speed < 150)
    arrived = fed.table("flights").filter(_.arr_delay.notnull()).mutate(late=_.arr_delay >= 15)
    return arrived.join(weather, ["origin", "time_hour"]).select("month", "carrier", *NUMBERS, "late")


def delay_by_carrier(fed: bl.Session) -> ir.Table:
    """Every carrier's flights that arrived and their mean delay, the worst first."""
    arrived = fed.table("flights").filter(_.arr_delay.notnull())
    carriers = arrived.group_by("carrier").agg(flights=_.count(), delay=_.arr_delay.mean())
    return carriers.order_by(_.delay.desc())


def refused(fed: bl.Session) -> ir.Table:
    """The ten latest flights, with their aircraft. These are rows, so no site answers."""
    flights = fed.table("flights").select("carrier", "flight", "tailnum", "arr_delay")
    return flights.order_by(_.arr_delay.desc()).limit(10)


def model(fed: bl.Session) -> bl.Model:
    """The chance of being late, fitted on January to June at all three airports; nothing runs yet."""
    columns = [("numbers", bl.StandardScaler(), NUMBERS), ("carrier", bl.OneHotEncoder(), ["carrier"])]
    classifier = bl.make_pipeline(bl.ColumnTransformer(columns), bl.LogisticRegression())
    training = features(fed).filter(_.month <= 6)
    return bl.train(classifier, training, target="late", features=[*NUMBERS, "carrier"])


def by_month(fed: bl.Session, late: bl.Model) -> ir.Table:
    """July to December, which the model has not seen: the share of late flights it expects, and the true one."""
    scored = features(fed).filter(_.month > 6).pipe(late.predict)
    shares = {"expected": _.probability.mean(), "late": _.late.mean()}
    return scored.group_by("month").agg(flights=_.count(), **shares).order_by("month")


def main() -> None:
    fed = bl.connect(*sys.argv[1:2])
    print(delay_by_carrier(fed).to_pandas())
    try:
        refused(fed).to_pandas()
    except bl.PolicyError as refusal:
        print(refusal)
    late = model(fed)
    print(late.fit().report())
    print(by_month(fed, late).to_pandas())


if __name__ == "__main__":
    main()
