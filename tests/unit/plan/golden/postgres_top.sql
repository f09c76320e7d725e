SELECT
  "t0"."id",
  "t0"."score"
FROM "visits" AS "t0"
ORDER BY
  "t0"."score" DESC NULLS LAST,
  "t0"."id" ASC
LIMIT 5
OFFSET 2
