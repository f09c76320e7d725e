SELECT
  "t5"."id"
FROM (
  SELECT
    *
  FROM "visits" AS "t0"
  WHERE
    "t0"."score" > (
      SELECT
        AVG("t0"."score") AS "avg(score)"
      FROM "visits" AS "t0"
    )
    AND EXISTS(
      SELECT
        1
      FROM "people" AS "t2"
      WHERE
        "t2"."person" = "t0"."person" AND "t2"."alive"
    )
) AS "t5"
