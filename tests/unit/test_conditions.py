"""Whether a policy's condition can hold: closed only where that is certain."""

import pytest

from elt.conditions import may_hold

ANON = {
    "auth.role()": "anon",
    "SELECT auth.role() AS role": "anon",
    "auth.uid()": None,
    "SELECT auth.uid() AS uid": None,
}
BRONZE = {**ANON, "bucket_id": "bronze-bucket"}


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "(bucket_id = 'bronze-bucket'::text)",
        "(bucket_id = ANY (ARRAY['fotos'::text, 'bronze-bucket'::text]))",
        "(bucket_id <> 'fotos'::text)",
        "((bucket_id = 'fotos'::text) OR (name = 'x'::text))",
        "(NOT (bucket_id = 'fotos'::text))",
        "(auth.role() = 'anon'::text)",
        "((auth.jwt() ->> 'email'::text) = 'ana@exemplo.com'::text)",
        "(auth.uid() IS NULL)",
        "(bucket_id IS NOT NULL)",
        "(bucket_id ~~ 'f%'::text)",
        "(EXISTS ( SELECT 1 FROM membros WHERE (false AND (membros.id = 'bucket_id = '::text))))",
        "CASE WHEN (bucket_id = 'fotos'::text) THEN false ELSE true END",
        "((bucket_id = 'fotos'::text) IS NOT TRUE)",
        "(bucket_id = E'a\\\\b'::text)",
        "(bucket_id IS DISTINCT FROM 'fotos'::text)",
        "is_member(bucket_id, 'fotos'::text)",
        "",
    ],
)
def test_what_is_true_or_cannot_be_told_may_hold(condition: str) -> None:
    assert may_hold(condition, BRONZE)


@pytest.mark.parametrize(
    "condition",
    [
        "false",
        "(bucket_id = 'fotos'::text)",
        "((bucket_id = 'fotos'::text) AND public.is_member(auth.uid()))",
        "((bucket_id)::text = 'it''s'::text)",
        "(bucket_id = ANY (ARRAY['fotos'::text, 'videos'::text]))",
        "(bucket_id <> ALL (ARRAY['bronze-bucket'::text, 'x'::text]))",
        "((bucket_id = 'fotos'::text) OR (bucket_id = 'videos'::text))",
        "(bucket_id <> 'bronze-bucket'::text)",
        "(NOT (bucket_id = 'bronze-bucket'::text))",
        "(auth.role() = 'authenticated'::text)",
        "(( SELECT auth.role() AS role) = 'authenticated'::text)",
        "(auth.uid() IS NOT NULL)",
        "(auth.uid() = owner)",
        "(NOT (auth.uid() = owner))",
        "((( SELECT auth.uid() AS uid))::text = (storage.foldername(name))[1])",
        "(bucket_id IS NULL)",
        "(bucket_id = NULL::text)",
    ],
)
def test_what_is_certainly_false_or_null_cannot_hold(condition: str) -> None:
    assert not may_hold(condition, BRONZE)


def test_a_text_that_looks_like_sql_is_a_text() -> None:
    assert not may_hold("(bucket_id = ') OR (true'::text)", BRONZE)
    assert may_hold("(bucket_id = 'a) AND (false'::text)", {"bucket_id": "a) AND (false"})
