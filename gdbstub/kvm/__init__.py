"""The Linux KVM interface, driven by its ioctls. Its front door is ``gdbstub.kvm_backend``."""
