"""Gold: compute the analyses whose silver has changed; 579 if no row of theirs differs, else 680.

By hand: ``python src/elt/gold/main.py``, ``python -m elt.gold`` or ``medallion gold``.
"""

if __name__ == "__main__":  # a script: Python then looks for modules in this folder, and not where elt is
    import runpy
    import sys
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    sys.path = [str(folder.parents[1]), *(path for path in sys.path if Path(path).resolve() != folder)]
    runpy.run_module("elt.gold", run_name="__main__")
    sys.exit()

from typing import Any
from uuid import uuid4

from elt.keys import StatusKey
from elt.lakehouse.ports import Lakehouse
from elt.ledger import Counts, LayerResult, Ledger, Situation
from elt.progress import Reporter


def run(lakehouse: Lakehouse, ledger: Ledger, reporter: Reporter) -> LayerResult:
    """Compute the analyses that are due, whole: those that silver has changed for since they were computed.

    Rows read are those computed and those that have no orders any more; written are those that differ.
    """
    with ledger.execution("gold") as execution:
        due = ledger.situation().gold_pending
        with reporter.task("gold", due) as task:
            answer: dict[str, Any] = lakehouse.tables.call(  # type: ignore[assignment]
                "gold.recalcular", p_id=str(uuid4()), p_dono=execution.owner, p_execucao=execution.identifier
            )
            task.advance(due)
        execution.situation = Situation.of(answer["situacao"])
        counts = sum((Counts(**found) for found in answer["analises"].values()), Counts())
        key = StatusKey(answer["chave"])
        return LayerResult("gold", key, counts.check("gold"), execution.situation.applied, answer["analises"])
