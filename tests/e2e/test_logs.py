"""JSON log lines and traces: one run id through all layers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from elt import telemetry
from elt.errors import SourceError
from elt.ledger import recent
from elt.redaction import know
from elt.runner import Runner
from tests.commands import json_lines, run_command
from tests.listening import listening
from tests.shops import write_shop


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    found, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    telemetry.trace_to(provider)
    yield found
    telemetry.trace_to(None)
    provider.shutdown()


@pytest.fixture
def env(new_database: Callable[[], str], tmp_path: Path) -> dict[str, str]:
    write_shop(tmp_path / "shop")
    return {"LAKEHOUSE_DB_URL": new_database(), "SOURCE_FILES": str(tmp_path / "shop"), "LOG_FORMAT": "json"}


def test_every_line_of_a_run_is_json_with_its_run_layer_and_counts(env: dict[str, str], tmp_path: Path) -> None:
    code, _, log = run_command("run", "--json", folder=tmp_path, env=env)
    assert code == 0
    lines = json_lines(log)
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    layers = [line for line in lines if "key" in line]
    assert [(line["layer"], line["key"], line["rows_read"], line["rows_written"]) for line in layers] == [
        ("bronze", 246, 3, 3),
        ("silver", 468, 3, 3),
        ("gold", 680, 2, 2),
    ]
    assert len({line["run"] for line in layers}) == 1


def test_an_error_is_a_json_line_with_the_run_and_what_to_do(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "shop" / "pedidos.csv").unlink()
    code, _, log = run_command("run", folder=tmp_path, env=env)
    assert code == 1
    last = json_lines(log)[-1]
    assert last["level"] == "error"
    assert {"run", "message", "kept", "next"} <= set(last)


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_run_is_a_span_and_each_layer_one_in_it(
    exporter: InMemorySpanExporter, runner: Runner, tmp_path: Path
) -> None:
    runner.run(write_shop(tmp_path / "shop"))
    *layers, run = exporter.get_finished_spans()
    assert run.name == "medallion run"
    assert [layer.name for layer in layers] == ["medallion bronze", "medallion silver", "medallion gold"]
    assert {layer.parent.span_id for layer in layers if layer.parent} == {run.context.span_id}
    assert attributes_of(layers[1]) == {
        "medallion.key": 468,
        "medallion.rows_read": 3,
        "medallion.rows_written": 3,
        "medallion.rows_unchanged": 0,
        "medallion.rows_repeated": 0,
        "medallion.rows_quarantined": 0,
    }


def test_the_span_has_the_ledgers_run(exporter: InMemorySpanExporter, runner: Runner, tmp_path: Path) -> None:
    runner.run(write_shop(tmp_path / "shop"))
    run = exporter.get_finished_spans()[-1]
    ledger = {row["execucao"] for row in recent(runner._unguarded.tables)}
    assert ledger == {attributes_of(run)["medallion.run"]}


def test_a_layer_that_fails_is_a_failed_span(exporter: InMemorySpanExporter, runner: Runner, tmp_path: Path) -> None:
    source = write_shop(tmp_path / "shop")
    (tmp_path / "shop" / "pedidos.csv").unlink()
    with pytest.raises(SourceError):
        runner.run(source)
    assert [span.status.is_ok for span in exporter.get_finished_spans()] == [False, False]


def test_a_failed_span_holds_neither_a_secret_nor_the_tracebacks_of_one(exporter: InMemorySpanExporter) -> None:
    know(["sb_secret_do-not-show-me"])
    with pytest.raises(ValueError, match="show"), telemetry.span("run"):
        raise ValueError("sb_secret_do-not-show-me")
    (span,) = exporter.get_finished_spans()
    (event,) = span.events
    facts = dict(event.attributes or {})
    assert (event.name, facts["exception.type"]) == ("exception", "ValueError")
    assert span.status.description == facts["exception.message"] == "ValueError: ***"
    assert "ValueError: ***" in str(facts["exception.stacktrace"])
    assert "do-not-show-me" not in span.to_json()


def test_the_standard_variables_send_spans_to_a_collector(env: dict[str, str], tmp_path: Path) -> None:
    with listening() as collector:
        settings = {**env, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        code, out, _ = run_command("run", "--json", folder=tmp_path, env=settings)
    assert code == 0
    assert json.loads(out)["layers"]
    assert {(method, path) for method, path, _ in collector.received} == {("POST", "/v1/traces")}
    assert b"medallion gold" in b"".join(body for _, _, body in collector.received)


def test_without_a_collector_nothing_of_opentelemetry_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert telemetry.start() is False
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert telemetry.start() is False
