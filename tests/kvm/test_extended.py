"""Extended mode on KVM: the VM is built anew while its client stays."""

from tests.kvm.client import Client, stop_fields, stop_pc
from tests.kvm.conftest import Built
from tests.kvm.stub import Stub


def test_kill_run_leave_and_attach(bare: Built) -> None:
    place = bare["software_place"]
    with Stub(bare.path, "--smp", "2") as stub:
        with Client(stub) as client:
            entry = client.register(32)
            first = client.ask(f"m{entry:x},40")
            assert client.ask("!") == "OK"
            for _ in range(2):
                assert client.ask(f"Z0,{place:x},4") == "OK"
                assert stop_pc(stop_fields(client.ask("vCont;c"))) == place
                assert client.ask("vKill;1") == "OK"
                assert client.ask("vCont;c") == "E03"
                assert stop_pc(stop_fields(client.ask("vRun;"))) == entry
                assert client.ask(f"m{entry:x},40") == first
            assert client.ask("D;1") == "OK"
            stub.console.wait_for_news()  # no breakpoint of those before it keeps it
            assert client.ask("vAttach;1").startswith("T02thread:")
            assert client.register(32) != entry
            assert client.ask("D;1") == "OK"
            assert stop_pc(stop_fields(client.ask("vRun;"))) == entry
            assert client.ask("vKill;1") == "OK"
        assert stub.wait() == 0
