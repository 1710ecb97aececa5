"""The Linux KVM interface, driven by its ioctls. ``gdbstub.kvm_backend`` makes a machine of it."""
