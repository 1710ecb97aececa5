"""The lab: an arm64 host with KVM under QEMU's emulation, for machines without arm64 KVM."""
