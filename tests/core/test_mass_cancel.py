"""Taking everything away at once: only where the venue can and where everything goes, and never in place of each order's own cancel."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

import msgspec
import pytest

from execution.core.messages import CommandKind, KillChoice, SendCancel, SendMassCancel
from risk.core.units import OrdType, Scope, ScopeKind
from risk.core.verdict import Capability
from tests.core.builders import ACCOUNT, BOT, BTC, Bench, D
from tests.core.builders import settings as config

C = KillChoice
FIRM = Scope(ScopeKind.FIRM)


def killed(scope: Scope, choice: KillChoice, *capabilities: Capability) -> Bench:
    """A kill while an entry rests."""
    base = config()
    bench = Bench(msgspec.structs.replace(base, capabilities=(*base.capabilities, *capabilities)))
    bench.ack(bench.buy("10", ord_type=OrdType.LIMIT, price=D(99)))
    bench.command(CommandKind.KILL, scope, halt_id="k1", choice=choice)
    return bench


@pytest.mark.parametrize(
    ("scope", "choice", "asked"),
    [
        (FIRM, C.CANCEL_ALL, [""]),
        (Scope(ScopeKind.ACCOUNT, ACCOUNT), C.CANCEL_ALL, [""]),
        (Scope(ScopeKind.INSTRUMENT, BTC), C.CANCEL_ALL, [BTC]),
        (Scope(ScopeKind.BOT, BOT), C.CANCEL_ALL, []),
        (FIRM, C.CANCEL, []),
        (FIRM, C.CANCEL_FLATTEN, []),
    ],
    ids=str,
)
def test_it_asks_once_where_everything_of_a_scope_goes(scope: Scope, choice: KillChoice, asked: list[str]) -> None:
    bench = killed(scope, choice, Capability.MASS_CANCEL)
    assert [effect.symbol for effect in bench.all(SendMassCancel)] == asked
    assert len(bench.all(SendCancel)) == 1


def test_it_asks_for_each_order_where_the_venue_has_no_such_request() -> None:
    bench = killed(FIRM, C.CANCEL_ALL)
    assert (bench.all(SendMassCancel), len(bench.all(SendCancel))) == ([], 1)
