"""What leaves for the pages: one message for everything, and a layer that may be away."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from channels.exceptions import ChannelFull
from redis.exceptions import ConnectionError as RedisConnectionError

from execution.core.messages import AnswerCommand, Bar, ClearAlarm, CommandStatus, Publish
from execution.engine.clock import Clock
from execution.engine.publisher import Publisher, Stream
from execution.store.market import Glance
from execution.store.projections import Repeat
from risk.core.units import Quote
from tests.conftest import NOON

D = Decimal


class Account:
    """A source with nothing but its stream."""

    def __init__(self, pk: int, code: str) -> None:
        self.stream = Stream(account_id=pk, code=code)

    def glance(self) -> Glance | None:
        return None


class Layer:
    """A channel layer that may be broken."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.messages: list[dict[str, Any]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.error is not None:
            raise self.error
        self.messages.append(message)


def publish(kind: str, key: str) -> Publish:
    return Publish(kind=kind, key=key, body=b"")


async def test_it_puts_everything_of_all_accounts_into_one_message() -> None:
    layer, one, two = Layer(), Account(1, "one"), Account(2, "two")
    publisher = Publisher(engine="e", clock=Clock(), layer=layer)
    publisher.add(one)
    publisher.add(two)
    one.stream.note((publish("order", "a"), publish("order", "b"), publish("order", "a")), seq=4)
    one.stream.note((ClearAlarm(key="k"), AnswerCommand(command_id="7", status=CommandStatus.DONE, text="")), seq=5)
    two.stream.quotes({"BTCUSDT": Quote("BTCUSDT", D("1.10"), D("1.20"), D("1.15"), NOON, NOON, NOON)})
    two.stream.bar(Bar("BTCUSDT", 60, datetime(2026, 1, 5, tzinfo=UTC), D(1), D(2), D("0.5"), D("1.5"), D(9)))
    await publisher.flush()
    await publisher.flush()
    (message,) = layer.messages
    assert message["type"] == "desk.changed"
    assert message["accounts"] == {
        "one": {"seq": 5, "keys": {"order": ["a", "b"], "alarm": ["k"], "command": ["7"]}, "quotes": {}, "bars": []},
        "two": {
            "seq": 0,
            "keys": {},
            "quotes": {"BTCUSDT": ["1.10", "1.20", "1.15", 1767614400000]},
            "bars": [["BTCUSDT", 60, 1767571200000, "1", "2", "0.5", "1.5", "9"]],
        },
    }
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message)) == message
    publisher.close()


def test_it_tells_a_folded_signal_by_the_row_that_counted_it() -> None:
    stream = Stream(account_id=1, code="one")
    stream.note((publish("signal", "d9"),), seq=1, fold=Repeat("d1", NOON, 3))
    part = stream.take()
    assert part is not None
    assert part["keys"] == {"signal": ["d1"]}


def test_it_keeps_the_engines_own_commands_to_itself() -> None:
    stream = Stream(account_id=1, code="one")
    stream.note((AnswerCommand(command_id="engine:1:bot", status=CommandStatus.DONE, text=""),), seq=1)
    assert stream.take() is None


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), ChannelFull(), TimeoutError(), OSError("no socket")])
async def test_it_loses_a_message_and_nothing_else_when_the_layer_is_away(error: Exception) -> None:
    layer, one = Layer(error), Account(1, "one")
    publisher = Publisher(engine="e", clock=Clock(), layer=layer)
    publisher.add(one)
    one.stream.touch("order", "a")
    await publisher.flush()
    layer.error = None
    one.stream.touch("order", "b")
    await publisher.flush()
    assert sum(publisher.dropped.values()) == 1
    assert layer.messages[0]["accounts"]["one"]["keys"] == {"order": ["b"]}
    publisher.close()
