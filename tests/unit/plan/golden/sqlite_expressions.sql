SELECT
  "t0"."id",
  UPPER("t0"."ward") AS "w",
  CAST(COALESCE("t0"."score", 0.0) AS REAL) / 2 AS "h",
  CASE WHEN "t0"."score" > 1 THEN 'high' ELSE 'low' END AS "k"
FROM "visits" AS "t0"
