"""A KVM-capable arm64 host under QEMU TCG, for any machine without one."""
