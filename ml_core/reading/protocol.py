"""What this program and the process that forks for each file say to each other, over a socket.

Asked: the length of the request with the pipes for the answer and for errors, and the request.
Told: that a process was forked. Asked: how long to wait for its end. Told: its exit status. See
docs/decisions/0081-each-file-is-read-in-a-fork.md.
"""

from __future__ import annotations

import struct

SERVE = "serve"
READY = b"+"
LENGTH, SECONDS, STATUS = struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<i")
END_SECONDS = 5.0
IDLE_SECONDS = 60.0
