"""The next client right after one that was killed, without a pause: it is served."""

import socket
import subprocess
import sys

from gdbstub import rsp
from tests.kvm.conftest import Built
from tests.kvm.stub import Stub

ROUNDS = 40

# Says one packet, reads the reply, and is killed while the guest runs, or stands.
CLIENT = """
import os, socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(bytes.fromhex(sys.argv[2]))
said = b""
while b"#" not in said:
    said += client.recv(4096)
print("said", flush=True)
os.kill(os.getpid(), 9)
"""


def test_every_client_is_served_at_once(bare: Built, figure: list[str]) -> None:
    served = 0
    with Stub(bare.path) as stub:
        for number in range(ROUNDS):
            wire = b"+" + rsp.encode(b"qC") + (rsp.encode(b"c") if number % 2 else b"")
            argv = [sys.executable, "-c", CLIENT, str(stub.port), wire.hex()]
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
            with socket.create_connection(("127.0.0.1", stub.port), 30) as client:
                client.sendall(b"+" + rsp.encode(b"qC"))
                said = b""
                while b"#" not in said:
                    said += (data := client.recv(4096))
                    assert data, f"round {number}: refused without a word"
            assert b"QC" in said, said
            served += 1
    figure.append(f"{served} of {ROUNDS} clients were served right after a kill -9 of another")
