"""Export of the results as a Parquet file: a row for each run, a column for each parameter."""

from pathlib import Path
from typing import Final

from gdbstub.errors import InputError
from gdbstub.sweep.outcome import RunOutcome
from gdbstub.sweep.store import Store
from gdbstub.vmm.files import open_written

_SIGNATURE: Final = "signature"
#: Names of the columns that are no parameters.
_COLUMNS: Final = {*RunOutcome._fields, "seed", _SIGNATURE}


def export(store: Store, path: Path) -> int:
    """Write the results to *path*; return the number of rows.

    The columns are ``number``, ``seed``, a parameter each by its name, the fields of
    ``RunOutcome``, which are null without an outcome, and ``signature``. A parameter whose name
    is that of another column, as ``host``, has ``parameter_`` before it.

    Raises:
        InputError: pyarrow is absent, or the file cannot be written.
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
            **{_column(name): _unicode(value) for name, value in run.parameters.items()},
            **(dict.fromkeys(fields) if outcome is None else outcome._asdict()),
            _SIGNATURE: outcome.signature if outcome else None,
        }
        for run, outcome in store.rows()
    ]
    texts = [*(rows[0] if rows else {})]
    numbers = {"number": pyarrow.int64(), "seed": pyarrow.uint64(), "attempt": pyarrow.int32()}
    numbers |= {"exit_status": pyarrow.int32()}
    numbers |= dict.fromkeys(("seconds", "began"), pyarrow.float64())
    schema = pyarrow.schema([(name, numbers.get(name, pyarrow.string())) for name in texts])
    table = pyarrow.Table.from_pylist(rows, schema)
    try:
        with open(open_written(str(path), ""), "wb") as file:
            parquet.write_table(table, file, compression="zstd")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    return len(rows)


def _column(name: str) -> str:
    return f"parameter_{name}" if name in _COLUMNS else name


def _unicode(value: str) -> str:
    """Return *value*, which the name of a file may be, with escapes for what is not Unicode."""
    return value.encode(errors="backslashreplace").decode()
