SELECT
  "t0"."id",
  EXTRACT(year FROM "t0"."day") AS "y",
  DATE_TRUNC('MONTH', CAST("t0"."day" AS TIMESTAMP)) AS "m"
FROM "visits" AS "t0"
WHERE
  "t0"."day" >= MAKE_DATE(2024, 1, 31)
