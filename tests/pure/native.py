"""The native core without its vCPU, compiled for this machine, and guests for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from gdbstub.agent import EvaluationContext
from gdbstub.errors import StubError
from gdbstub.kvm import compiler
from gdbstub.kvm.abi import CData, ffi

STRICT = ("-Wall", "-Wextra", "-Werror")


@cache
def portable() -> CData:
    """The library, which this machine's compiler has no word against."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / compiler.LIBRARY
        compiler.build(path, "cc", without=("vcpu.c",), flags=STRICT)
        return ffi.dlopen(str(path))


@contextmanager
def guest(context: EvaluationContext) -> Iterator[CData]:
    """A ``struct guest`` that reads *context*."""

    def read_register(_: CData, number: int, value: CData) -> int:
        try:
            value[0] = context.register(number)
        except StubError:
            return 1
        return 0

    def read_memory(_: CData, gva: int, size: int, value: CData) -> int:
        try:
            data = context.memory(gva, size)
        except StubError:
            return 1
        value[0] = int.from_bytes(data, "little")
        return int(len(data) < size)

    functions = (
        ffi.callback("int(void *, unsigned, uint64_t *)", read_register),
        ffi.callback("int(void *, uint64_t, unsigned, uint64_t *)", read_memory),
    )
    yield ffi.new("struct guest *", [*functions, ffi.NULL])


def evaluate(code: bytes, context: EvaluationContext) -> int | None:
    """The value of an expression by the native core; None where it leaves that to Python."""
    value = ffi.new("uint64_t *")
    with guest(context) as own:
        failed = portable().agent_evaluate(code, own, value)
    return None if failed else int(value[0])
