"""Thousands of steps through a kernel at work: each is one instruction, and none an interrupt."""

import time
from pathlib import Path

import pytest

from gdbstub.aarch64.registers import VBAR_EL1
from tests.kvm import user_space
from tests.kvm.client import Client, stop_fields, stop_pc
from tests.kvm.conftest import Built
from tests.kvm.stub import Stub
from tests.kvm.walk import INTERRUPTS, Walker


@pytest.mark.timeout(1200)
def test_steps_through_system_calls(
    initrd: Path, kernel: Built, long: bool, figure: list[str]
) -> None:
    least = 10_000 if long else 1_000
    place = kernel["__arm64_sys_getppid"]
    with Stub(*user_space.arguments(initrd, "busy")) as stub, Client(stub) as client:
        assert client.ask(f"Z1,{place:x},4") == "OK"
        walker = Walker(client, stop_fields(client.ask("vCont;c")))
        assert walker.pc == place
        assert client.ask(f"z1,{place:x},4") == "OK"
        steps = waited = 0
        start = time.perf_counter()
        while steps < least or min(walker.kinds["SVC"], walker.kinds["ERET"]) < 2:
            walker.step()
            waited += steps % 100 == 0 and walker.interrupt_waits()
            steps += 1
        seconds = time.perf_counter() - start
        assert waited, "the timer never wanted anything: this test has tested nothing"
        # Its interrupt was there all the time, and comes as soon as it may.
        vectors = client.register(VBAR_EL1.number)
        for offset in INTERRUPTS:
            assert client.ask(f"Z1,{vectors + offset:x},4") == "OK"
        assert stop_pc(stop_fields(client.ask("vCont;c"))) - vectors in INTERRUPTS
    figure.append(f"{steps} steps, {steps / seconds:.0f} a second: {dict(walker.kinds)}")
