SELECT
  "t0"."ward",
  _IBIS_VAR_POP("t0"."score") AS "v",
  SQRT(_IBIS_VAR_SAMPLE("t0"."score")) AS "d"
FROM "visits" AS "t0"
GROUP BY
  1
