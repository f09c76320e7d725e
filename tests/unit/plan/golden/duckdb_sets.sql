SELECT
  *
FROM (
  SELECT
    *
  FROM (
    SELECT
      "t0"."person"
    FROM "visits" AS "t0"
  ) AS "t3"
  UNION ALL
  SELECT
    *
  FROM (
    SELECT
      "t1"."person"
    FROM "people" AS "t1"
  ) AS "t4"
) AS "t5"
EXCEPT
SELECT
  *
FROM (
  SELECT
    "t0"."id" AS "person"
  FROM "visits" AS "t0"
) AS "t2"
