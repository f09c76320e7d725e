SELECT
  "t0"."id",
  "t0"."score"
FROM "visits" AS "t0"
WHERE
  "t0"."ward" = 'it''s'
  AND (
    (
      "t0"."score" > 1.5
    ) OR (
      "t0"."score" IS NULL
    )
  )
