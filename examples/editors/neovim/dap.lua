-- For nvim-dap. GDB 14 or newer speaks the debug adapter protocol itself; it must know AArch64.
local dap = require("dap")

dap.adapters.gdb = {
    type = "executable",
    command = "gdb-multiarch",
    args = { "--interpreter=dap", "--quiet" },
}

dap.configurations.c = {
    {
        name = "gdbstub",
        type = "gdb",
        request = "attach",
        program = "${workspaceFolder}/guest.elf",
        target = "localhost:1234",
    },
}
