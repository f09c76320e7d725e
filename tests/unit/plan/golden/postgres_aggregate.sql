SELECT
  *
FROM (
  SELECT
    "t0"."ward",
    COUNT(*) AS "n",
    SUM("t0"."cost") AS "c",
    AVG("t0"."score") AS "s",
    COUNT(DISTINCT "t0"."person") AS "p"
  FROM "visits" AS "t0"
  GROUP BY
    1
) AS "t1"
WHERE
  "t1"."n" > 2
