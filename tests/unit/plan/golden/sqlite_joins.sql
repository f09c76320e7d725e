SELECT
  "t5"."id",
  "t5"."name"
FROM (
  SELECT
    "t2"."id",
    "t2"."person",
    "t2"."ward",
    "t2"."day",
    "t2"."cost",
    "t2"."score",
    "t3"."person" AS "person_1",
    "t3"."name",
    "t3"."born",
    "t3"."alive",
    "t4"."person" AS "person_2",
    "t4"."name" AS "name_1",
    "t4"."born" AS "born_1",
    "t4"."alive" AS "alive_1"
  FROM "visits" AS "t2"
  LEFT OUTER JOIN "people" AS "t3"
    ON "t2"."person" = "t3"."person"
  INNER JOIN "people" AS "t4"
    ON "t4"."person" = "t2"."id"
) AS "t5"
