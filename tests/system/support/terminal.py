"""Runs a command on a terminal of its own: `terminal.py STEPS COMMAND…`.

STEPS is a JSON list of pairs: ["expect", TEXT] waits until the terminal has shown TEXT after what
was expected before, ["send", TEXT] types it. What was shown goes to stdout at the end. The exit
code is the command's, or 99 where something expected does not come.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

PATIENCE = 60


def main():
    steps, command = json.loads(sys.argv[1]), sys.argv[2:]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "vt100"
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    shown, seen = b"", 0

    def read(deadline):
        left = max(0, deadline - time.monotonic())
        if not select.select([terminal], [], [], left)[0]:
            return None
        try:
            return os.read(terminal, 65536)
        except OSError:  # Nobody has it open any more.
            return b""

    def give_up(what):
        sys.stdout.buffer.write(shown + b"\n")
        sys.stdout.flush()
        print(f"waited in vain for {what!r}", flush=True)
        os._exit(99)

    for kind, text in steps:
        text = text.encode()
        if kind == "send":
            os.write(terminal, text)
            continue
        deadline = time.monotonic() + PATIENCE
        while (at := shown.find(text, seen)) < 0:
            more = read(deadline)
            if not more:
                give_up(text)
            shown += more
        seen = at + len(text)
    deadline = time.monotonic() + PATIENCE
    while more := read(deadline):
        shown += more
    if more is None:
        give_up("the end")
    sys.stdout.buffer.write(shown)
    sys.stdout.flush()
    status = os.waitpid(pid, 0)[1]
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


main()
