"""Hints: to whom they go, and that none that is lost costs an act."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from redis.exceptions import ConnectionError as RedisConnectionError

from execution import services
from execution.core.messages import KillChoice
from execution.models import Act, Bot
from execution.services import hints
from risk import services as risk_services
from risk.core.units import Scope, ScopeKind

pytestmark = pytest.mark.db


class Layer:
    """A channel layer that keeps what it was given, or fails as it is told."""

    def __init__(self, fails: BaseException | None = None, hangs: bool = False) -> None:
        self.sent: list[str] = []
        self.fails = fails
        self.hangs = hangs

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        assert message == {"type": "hint"}
        self.sent.append(group)


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Layer]:
    def install(**more: Any) -> Layer:
        made = Layer(**more)
        monkeypatch.setattr(hints, "get_channel_layer", lambda: made)
        monkeypatch.setattr(hints, "_WAIT_S", 0.02)
        return made

    return install


def kill(scope: Scope) -> Act:
    return services.kill(scope=scope, choice=KillChoice.CANCEL, by="alice", idempotency_key="k")


@pytest.mark.parametrize(
    ("scope", "is_wide"),
    [
        (Scope(ScopeKind.FIRM), True),
        (Scope(ScopeKind.INSTRUMENT, "BTCUSDT"), True),
        (Scope(ScopeKind.ACCOUNT, "paper-crypto"), False),
        (Scope(ScopeKind.BOT, "ema-btc"), False),
    ],
)
def test_it_tells_the_engines_after_the_commit(
    scope: Scope, is_wide: bool, bot: Bot, layer: Callable[..., Layer], django_capture_on_commit_callbacks: Any
) -> None:
    heard = layer()
    with django_capture_on_commit_callbacks(execute=True):
        kill(scope)
        assert heard.sent == []
    assert heard.sent == ["engines" if is_wide else f"account.{bot.account.pk}"]


def test_it_tells_the_engine_of_new_settings(
    bot: Bot, layer: Callable[..., Layer], django_capture_on_commit_callbacks: Any
) -> None:
    heard = layer()
    bot.profile.leverage = None
    with django_capture_on_commit_callbacks(execute=True):
        risk_services.profile_save(profile=bot.profile, version=1, by="bob", reason="unset")
    assert heard.sent == [f"account.{bot.account.pk}"]


@pytest.mark.parametrize(
    "trouble",
    [{"fails": RedisConnectionError("gone")}, {"fails": ChannelFull()}, {"fails": ConnectionRefusedError()}, {"hangs": True}],
    ids=["redis gone", "channel full", "refused", "stalled"],
)
def test_a_lost_hint_is_counted_and_costs_nothing(
    trouble: dict[str, Any], bot: Bot, layer: Callable[..., Layer], django_capture_on_commit_callbacks: Any
) -> None:
    layer(**trouble)
    before = hints.HintCount.lost
    with django_capture_on_commit_callbacks(execute=True):
        kill(Scope(ScopeKind.FIRM))
    assert hints.HintCount.lost == before + 1
    assert Act.objects.get().commands.get().status == "PENDING"
