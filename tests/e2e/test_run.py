"""The whole chain over small shops: keys, counts, and what reaches silver and gold."""

from pathlib import Path

from elt.ledger import LayerResult
from elt.runner import Runner
from tests.shops import write_shop


def keys_of(results: list[LayerResult]) -> list[int]:
    return [int(result.key) for result in results]


def test_first_run_goes_all_the_way(runner: Runner, tmp_path: Path) -> None:
    source = write_shop(tmp_path / "shop")
    assert keys_of(runner.run(source)) == [246, 468, 680]
