"""The names of KVM's numbers, which ``monitor stats`` shows."""

from gdbstub import kvm_abi


def test_requests_and_exits_have_their_names() -> None:
    requests = kvm_abi.names()
    assert requests[0xAE80] == "KVM_RUN"
    assert requests[0x4208_AE9B] == "KVM_SET_GUEST_DEBUG"
    assert not any(name.startswith(("KVM_CAP_", "KVM_EXIT_")) for name in requests.values())
    assert kvm_abi.names("EXIT_")[4] == "DEBUG"
