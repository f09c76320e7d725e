SELECT
  "t0"."id",
  CAST(STRFTIME('%Y', "t0"."day") AS INTEGER) AS "y",
  DATETIME(STRFTIME('%Y-%m-%d %H:%M:%f', "t0"."day"), 'start of month') AS "m"
FROM "visits" AS "t0"
WHERE
  "t0"."day" >= '2024-01-31'
