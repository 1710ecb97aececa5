"""A small virtual machine monitor: memory, images, device tree, UART."""
