"""Ranges stepped through a kernel at work: it is well, and none ends at an interrupt."""

import re
import time
from bisect import bisect_right
from collections import Counter

from gdbstub.aarch64.registers import CPSR, VBAR_EL1
from gdbstub.lab import demo
from tests.kvm.client import Client, stop_fields, stop_pc
from tests.kvm.conftest import Built
from tests.kvm.stub import Stub
from tests.kvm.walk import INTERRUPTS

IRQ_MASKED = 1 << 7


def test_functions_of_a_kernel_that_boots(kernel: Built, long: bool, figure: list[str]) -> None:
    """Each range is a function: it is left for one that it calls, or for who has called it."""
    count = 3000 if long else 200
    places = sorted(set(kernel.symbols.values()))
    seen = Counter[str]()
    with Stub() as stub, Client(stub) as client:
        assert client.ask(f"Z1,{kernel['do_one_initcall']:x},4") == "OK"
        fields = stop_fields(client.ask("vCont;c"))
        assert client.ask(f"z1,{kernel['do_one_initcall']:x},4") == "OK"
        vectors = client.register(VBAR_EL1.number)
        begin = time.perf_counter()
        for _ in range(count):
            pc = stop_pc(fields)
            after = bisect_right(places, pc)
            start, end = places[after - 1], places[after]
            masked = client.register(CPSR.number) & IRQ_MASKED
            fields = stop_fields(client.ask(f"vCont;r{start:x},{end:x}:1"))
            now = stop_pc(fields)
            assert not start <= now < end, f"{pc:#x} was followed by {now:#x}"
            assert now - vectors not in INTERRUPTS
            seen["called" if now in places else "went back"] += 1
            seen["masked" if masked else "unmasked"] += 1
        speed = count / (time.perf_counter() - begin)
        assert min(seen.values()) > count // 20, seen
        client.send("vCont;c")
        stub.console.wait_for(re.escape(demo.INIT_LINE))
        assert not re.search(r"BUG|WARNING|stall|Oops", stub.console.text)
    figure.append(f"{count} ranges, {speed:.0f} a second: {dict(seen)}")
