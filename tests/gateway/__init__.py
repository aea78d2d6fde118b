"""A stand-in for a Supabase project, for machines where none can run.

It is the HTTP side of a project, as the official Python client sees it, in front of a real PostgreSQL: PostgREST under
``/rest/v1`` and Storage under ``/storage/v1``, behind the gateway's check of keys. Grants,
row-level security, constraints, triggers, timeouts and the words of their errors are PostgreSQL's own, because every
request runs in a transaction with the caller's real role.

What it is not: PostgREST or Storage. It was written from their documentation and sources, which each module names, and
no Supabase project has been compared with it. What it leaves out answers 501 with the feature's name: resource
embedding, aggregates, JSON paths, full-text and array operators, ``and``/``or``, ``count=planned|estimated``, PUT,
functions by GET, overloaded functions, CSV, and of OpenAPI all but the columns of tables; signed and public URLs, image
transformation, copy, move, ranges of bytes, S3; Auth, Realtime, Edge Functions. Known to be only near the original:
the text of PGRST100, the hints that guess another name (PGRST202, PGRST205: always null here), the body of a paused
project, the longest URL, and the time after which a real project forgets an unfinished upload. It speaks HTTP/1.1
without TLS. Stricter than the original on purpose: a request under ``/rest/v1`` that carries more than 10,000 rows is
answered 501, because the pipeline never sends one.

``python -m tests.gateway --help`` runs it by hand; ``fixtures.py`` has it for tests; ``faults.py`` is what it can be
told to do wrong.
"""
