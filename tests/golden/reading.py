"""Run as a program: reads journals by name, and prints what each comes to."""

from __future__ import annotations

import sys

import msgspec

from execution.core.messages import Event
from tests.golden.recordings import outcome_of

if __name__ == "__main__":
    journals = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=dict[str, list[bytes]])
    decoder = msgspec.msgpack.Decoder(Event)
    digests = {name: outcome_of(sys.argv[1], map(decoder.decode, journal)).digest for name, journal in journals.items()}
    sys.stdout.write(msgspec.json.encode(digests).decode())
