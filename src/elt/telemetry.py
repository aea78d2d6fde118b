"""Traces for OpenTelemetry: one span for each run, and in it one for each layer, with the counts as attributes.

Only if the extra ``otel`` is installed and the standard variables name a collector; otherwise nothing is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elt.redaction import traceback_of, words_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_tracer: "Tracer | None" = None


def start() -> bool:
    """Trace from now on to the collector that the ``OTEL_*`` variables name; answers whether that is so.

    The variables are read by the SDK and its exporter (endpoint, headers, service name, sampling, ...). Source: the
    OpenTelemetry specification, "Environment Variable Specification".
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(os.environ.get, _ENDPOINTS)):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return False
    os.environ.setdefault("OTEL_SERVICE_NAME", "medallion")
    provider = TracerProvider()  # it flushes when the process exits
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace_to(provider)
    return True


def trace_to(provider: "TracerProvider | None") -> None:
    """Trace to this provider; None ends tracing."""
    global _tracer
    _tracer = None if provider is None else provider.get_tracer("medallion")


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator["Span | None"]:
    """A span around the work inside; an exception marks it as failed, by its type and words, and goes on."""
    if _tracer is None:
        yield None
        return
    with _tracer.start_as_current_span(
        f"medallion {name}", record_exception=False, set_status_on_exception=False
    ) as current:
        set_attributes(current, **attributes)
        try:
            yield current
        except Exception as error:
            _note_failure(current, error)
            raise


def _note_failure(current: "Span", error: Exception) -> None:
    """The error as OpenTelemetry notes exceptions, filtered. Source: its conventions, "Exceptions on spans"."""
    from opentelemetry.trace import StatusCode

    current.set_status(StatusCode.ERROR, words_of(error))
    facts = {"type": type(error).__name__, "message": words_of(error), "stacktrace": traceback_of(error)}
    current.add_event("exception", {f"exception.{name}": value for name, value in facts.items()})


def set_attributes(current: "Span | None", **attributes: str | int) -> None:
    """Note facts on a span; nothing without tracing."""
    if current is not None:
        current.set_attributes({f"medallion.{name}": value for name, value in attributes.items()})
