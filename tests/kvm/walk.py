"""Steps through a guest and knows beforehand where each step must end."""

from collections import Counter
from collections.abc import Iterator

from gdbstub.aarch64.registers import CPSR, ELR_EL1, ESR_EL1, SYSTEM_REGISTERS, VBAR_EL1
from gdbstub.aarch64.sysreg import ESR
from tests.kvm import a64
from tests.kvm.client import Client, stop_fields, stop_pc

CHUNK = 0x100  # bytes of code to read at once
ERET = 0xD69F_03E0
LOADS_AND_STORES = 0x0A00_0000, 0x0800_0000  # C4.1: op0 is x1x0
LOAD_EXCLUSIVE = 0x3FC0_0000, 0x0840_0000
STORE_EXCLUSIVE = 0x3FC0_0000, 0x0800_0000
SYNCHRONOUS = {0x200, 0x400}  # of EL1h, of EL0
INTERRUPTS = {0x280, 0x300, 0x480, 0x500}
# ESR_EL1.EC of what an instruction itself may cause here (D19.2.37).
SVC64, INSTRUCTION_ABORT, DATA_ABORTS = 0x15, 0x20, (0x24, 0x25)
SEQUENCE = 16  # the longest from a load-exclusive to its store


def matches(word: int, pattern: tuple[int, int]) -> bool:
    return word & pattern[0] == pattern[1]


def _zeros(_: int) -> int:
    return 0


def _ones(_: int) -> int:
    return a64.MASK


class Walker:
    """Steps vCPU 0 and knows beforehand where each step must end."""

    def __init__(self, client: Client, fields: dict[str, str]) -> None:
        self.client = client
        self.fields = fields
        self.kinds: Counter[str] = Counter()
        self._code: dict[int, int] = {}

    @property
    def pc(self) -> int:
        return stop_pc(self.fields)

    def value(self, number: int) -> int:
        if said := self.fields.get(f"{number:02x}"):
            return int.from_bytes(bytes.fromhex(said), "little")
        return self.client.register(number)

    def word(self, gva: int) -> int:
        if gva not in self._code:
            start = gva & -CHUNK
            data = bytes.fromhex(self.client.ask(f"m{start:x},{CHUNK:x}"))
            for at, word in enumerate(memoryview(data).cast("I")):
                self._code[start + 4 * at] = word
        return self._code[gva]

    def step(self) -> None:
        """One step, or as GDB does: all of a sequence that a step would break."""
        word = self.word(self.pc)
        if matches(word, LOAD_EXCLUSIVE):
            self.kinds["exclusive sequence"] += 1
            self._run_to(set(self._behind_sequence()))
            return
        pc, elr = self.pc, self.client.register(ELR_EL1.number) if word == ERET else 0
        expected = elr or a64.following(pc, word, self.value(CPSR.number), self.value)
        self.fields = stop_fields(self.client.ask("vCont;s:1"))
        if self.pc == expected:
            self.kinds["ERET" if word == ERET else "plain"] += 1
        else:
            self.kinds[self._exception(pc, word)] += 1

    def _exception(self, pc: int, word: int) -> str:
        """Return the kind of exception that *word* itself took; an interrupt is a failure."""
        seen = f"{word:#010x} at {pc:#x} was followed by {self.pc:#x}"
        offset = self.pc - self.client.register(VBAR_EL1.number)
        assert offset not in INTERRUPTS, f"{seen}, an interrupt's vector"
        assert offset in SYNCHRONOUS, seen
        esr, elr = ESR(self.client.register(ESR_EL1.number)), self.client.register(ELR_EL1.number)
        if esr.EC == SVC64:
            assert elr == pc + 4, seen
            return "SVC"
        assert elr == pc, seen
        if esr.EC in DATA_ABORTS and matches(word, LOADS_AND_STORES):
            return "data abort"
        assert esr.EC == INSTRUCTION_ABORT, f"{seen} with {esr!r}"
        return "instruction abort"

    def _behind_sequence(self) -> Iterator[int]:
        """Yield the addresses at which execution may leave the exclusive sequence at PC."""
        for pc in range(self.pc + 4, self.pc + 4 * SEQUENCE, 4):
            word = self.word(pc)
            if matches(word, STORE_EXCLUSIVE):
                yield pc + 4
                return
            for cpsr in (0, 0xF << 28):
                for registers in (_zeros, _ones):
                    if (target := a64.following(pc, word, cpsr, registers)) != pc + 4:
                        yield target
        raise AssertionError(f"no store-exclusive near {self.pc:#x}")

    def _run_to(self, places: set[int]) -> None:
        for place in places:
            assert self.client.ask(f"Z0,{place:x},4") == "OK"
        self.fields = stop_fields(self.client.ask("vCont;c:1"))
        assert self.pc in places
        for place in places:
            assert self.client.ask(f"z0,{place:x},4") == "OK"

    def interrupt_waits(self) -> bool:
        """Return True if the virtual timer's interrupt is due by the guest's stopped clock."""
        read = self.client.register
        now, then = SYSTEM_REGISTERS["CNTVCT_EL0"], SYSTEM_REGISTERS["CNTV_CVAL_EL0"]
        return read(then.number) <= read(now.number)
