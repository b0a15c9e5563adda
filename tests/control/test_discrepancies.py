"""Settling a disagreement with the venue: what the acts carry to the Desk, and what is refused before it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from django.utils import timezone

from execution import services
from execution.core.messages import CommandKind, CommandSpec
from execution.models import Account, Act, Discrepancy

pytestmark = pytest.mark.db


@pytest.mark.parametrize(
    ("settle", "kind"), [(services.discrepancy_adopt, CommandKind.ADOPT), (services.discrepancy_ignore, CommandKind.IGNORE)]
)
def test_it_settles_what_stands(account: Account, settle: Any, kind: CommandKind) -> None:
    now = timezone.now()
    row = Discrepancy.objects.create(account=account, symbol="BTCUSDT", ours=10, theirs=8, since=now, seen_at=now)
    act = settle(account=account, symbol="BTCUSDT", by="alice", idempotency_key="1", reason="staked")
    told = msgspec.convert(act.commands.get().body, CommandSpec)
    assert (told.kind, told.target, told.by, told.reason) == (kind, "BTCUSDT", "alice", "staked")
    assert told.valid_until is not None
    row.ended_at = now
    row.save()
    with pytest.raises(services.ActRefused, match="does not disagree about BTCUSDT"):
        settle(account=account, symbol="BTCUSDT", by="alice", idempotency_key="2")
    assert Act.objects.count() == 1
