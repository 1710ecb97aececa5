"""Export of the results as a Parquet file: a row for each run, a column for each parameter."""

from pathlib import Path

from gdbstub.errors import InputError
from gdbstub.sweep.outcome import RunOutcome
from gdbstub.sweep.store import Store


def export(store: Store, path: Path) -> int:
    """Write the results to *path*; return the number of rows.

    The columns are ``number``, ``seed``, a parameter each by its name, and the fields of
    ``RunOutcome``, which are null without an outcome.

    Raises:
        InputError: pyarrow is absent.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "an export to Parquet needs pyarrow: pip install 'kvm-gdbstub[sweep]'"
        ) from None
    fields = RunOutcome._fields[1:]
    rows = [
        {
            "number": run.number,
            "seed": run.seed,
            **run.parameters,
            **(dict.fromkeys(fields) if outcome is None else outcome._asdict()),
            "signature": outcome.signature if outcome else None,
        }
        for run, outcome in store.rows()
    ]
    texts = [*(rows[0] if rows else {})]
    numbers = {"number": pyarrow.int64(), "seed": pyarrow.uint64(), "attempt": pyarrow.int32()}
    numbers |= {"exit_status": pyarrow.int32()}
    numbers |= dict.fromkeys(("seconds", "began"), pyarrow.float64())
    schema = pyarrow.schema([(name, numbers.get(name, pyarrow.string())) for name in texts])
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path, compression="zstd")
    return len(rows)
