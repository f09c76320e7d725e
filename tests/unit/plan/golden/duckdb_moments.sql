SELECT
  "t0"."ward",
  VAR_POP("t0"."score") AS "v",
  STDDEV_SAMP("t0"."score") AS "d"
FROM "visits" AS "t0"
GROUP BY
  1
