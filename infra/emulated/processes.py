"""Processes that a run starts: each in a session of its own, ended by its id, and seen to listen on loopback only."""

import ipaddress
import os
import pathlib
import signal
import socket
import subprocess
import time


def free_port():
    """A port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A process with whatever it starts itself; its output goes to a file."""

    def __init__(self, argv, env, log):
        self.log = pathlib.Path(log)
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def has_ended(self):
        return self.child.poll() is not None

    def members(self):
        """The processes of its session that live."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    # After the name, which is in parentheses: state, parent, group, session.
                    state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                except OSError:
                    continue
                if int(session) == self.child.pid and state != "Z":
                    found.append(int(entry.name))
        return found

    def exposed(self):
        """The addresses beyond loopback that its processes listen on."""
        sockets = set()
        for pid in self.members():
            try:
                links = [os.readlink(link) for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue
            sockets.update(link[len("socket:[") : -1] for link in links if link.startswith("socket:["))
        return [
            f"{address}:{port}" for address, port, inode in _listening() if inode in sockets and not address.is_loopback
        ]

    def stop(self):
        """Ends it and whatever it started: politely, then not. True when nothing is left of it."""
        for sent in [signal.SIGTERM, signal.SIGKILL]:
            for pid in self.members():
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    pass
            until = time.monotonic() + 5
            while time.monotonic() < until:
                self.child.poll()
                if not self.members():
                    return True
                time.sleep(0.02)
        return False


def _listening():
    listen = "0A"
    for name in ["tcp", "tcp6"]:
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == listen:
                address, port = fields[1].split(":")
                # Words of four bytes in the machine's order, which is the other way round than the network's.
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                yield ipaddress.ip_address(b"".join(words)), int(port, 16), fields[9]
