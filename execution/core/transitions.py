"""The table of the order machine: what each word does to an order in each status. What is not in it cannot happen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from execution.core.messages import ExecType
from execution.core.orders import OrdStatus


class Move(StrEnum):
    """What happens to an order. The words are those of the diagram."""

    ACCEPT = "works at the venue"
    ARRIVE = "known at the venue"
    BOOK = "book the fill"
    BUST = "book it again without the fill"
    END = "over"
    HOLD = "works no further for now"
    ASK = "request sent"
    FALL_BACK = "request refused"
    RESIZE = "resized"
    RESTATE = "is what the venue says"
    LOSE = "answer lost"
    REVIVE = "believed, if its end was only presumed"
    COMPARE = "compare quantities"
    LATE = "old news"


_S, _X, _M = OrdStatus, ExecType, Move
_DONE: Final = (_S.FILLED, _S.CANCELED, _S.REJECTED, _S.EXPIRED)
#: what an order can be by our own conclusion, and what only the venue makes of it
_PRESUMABLE: Final = (_S.REJECTED, _S.CANCELED)
_FINAL: Final = (_S.FILLED, _S.EXPIRED)
_LIVE: Final = (_S.NEW, _S.PARTIALLY_FILLED)
_HELD: Final = (_S.STOPPED, _S.SUSPENDED, _S.DONE_FOR_DAY, _S.CALCULATED)
_ASKED: Final = (_S.PENDING_CANCEL, _S.PENDING_REPLACE)
_UNANSWERED: Final = (_S.PENDING_NEW, _S.UNKNOWN)
_OPEN: Final = (*_UNANSWERED, *_LIVE, *_HELD, *_ASKED)


def _rows(exec_type: ExecType, *moves: tuple[Iterable[OrdStatus], Move]) -> dict[tuple[OrdStatus, ExecType], Move]:
    return {(status, exec_type): move for statuses, move in moves for status in statuses}


TRANSITIONS: Final[Mapping[tuple[OrdStatus, ExecType], Move]] = {
    **_rows(_X.PENDING_NEW, (_UNANSWERED, _M.ARRIVE), ((*_LIVE, *_HELD, *_ASKED, *_FINAL), _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.NEW, ((*_UNANSWERED, *_HELD, *_ASKED), _M.ACCEPT), ((*_LIVE, *_FINAL), _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.TRADE, ((*_OPEN, *_DONE), _M.BOOK)),
    **_rows(_X.TRADE_CANCEL, ((*_OPEN, *_DONE), _M.BUST)),
    **_rows(_X.TRADE_CORRECT, ((*_OPEN, *_DONE), _M.BUST)),
    **_rows(_X.CANCELED, (_OPEN, _M.END), (_FINAL, _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.EXPIRED, (_OPEN, _M.END), (_FINAL, _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.REJECTED, ((*_UNANSWERED, _S.NEW, _S.PENDING_CANCEL), _M.END), ((_S.REJECTED,), _M.REVIVE)),
    **_rows(_X.DONE_FOR_DAY, ((*_OPEN, _S.FILLED), _M.HOLD), ((_S.EXPIRED,), _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.CALCULATED, ((*_OPEN, _S.FILLED), _M.HOLD), ((_S.EXPIRED,), _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.STOPPED, (_OPEN, _M.HOLD), (_FINAL, _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.SUSPENDED, (_OPEN, _M.HOLD), (_FINAL, _M.LATE), (_PRESUMABLE, _M.REVIVE)),
    **_rows(_X.RESTATED, ((*_OPEN, *_DONE), _M.RESTATE)),
    **_rows(
        _X.PENDING_CANCEL,
        ((*_UNANSWERED, *_LIVE, *_HELD, _S.PENDING_REPLACE, _S.FILLED), _M.ASK),
        ((_S.PENDING_CANCEL, _S.EXPIRED), _M.LATE),
        (_PRESUMABLE, _M.REVIVE),
    ),
    **_rows(
        _X.PENDING_REPLACE,
        ((*_LIVE, *_HELD, _S.UNKNOWN, _S.FILLED), _M.ASK),
        ((*_ASKED, _S.EXPIRED), _M.LATE),
        (_PRESUMABLE, _M.REVIVE),
    ),
    **_rows(
        _X.CANCEL_REJECTED,
        ((_S.PENDING_CANCEL, _S.UNKNOWN), _M.FALL_BACK),
        ((*_LIVE, *_HELD, *_DONE, _S.PENDING_REPLACE), _M.LATE),
    ),
    **_rows(
        _X.REPLACED,
        ((*_LIVE, *_HELD, *_ASKED, _S.UNKNOWN, _S.FILLED), _M.RESIZE),
        ((_S.EXPIRED,), _M.LATE),
        (_PRESUMABLE, _M.REVIVE),
    ),
    **_rows(_X.REPLACE_REJECTED, ((*_ASKED, _S.UNKNOWN), _M.FALL_BACK), ((*_LIVE, *_HELD, *_DONE), _M.LATE)),
    **_rows(_X.STATUS, ((*_OPEN, *_DONE), _M.COMPARE)),
    **_rows(_X.NOT_SENT, ((_S.PENDING_NEW, _S.PENDING_CANCEL), _M.END), ((_S.REJECTED,), _M.LATE)),
    **_rows(_X.SEND_REFUSED, ((*_UNANSWERED, _S.PENDING_CANCEL), _M.END), ((_S.REJECTED,), _M.LATE)),
    **_rows(
        _X.SEND_UNKNOWN,
        ((_S.PENDING_NEW, _S.PENDING_CANCEL), _M.LOSE),
        ((*_LIVE, *_HELD, *_DONE, _S.UNKNOWN, _S.PENDING_REPLACE), _M.LATE),
    ),
    **_rows(_X.NEVER_ARRIVED, ((_S.UNKNOWN,), _M.END)),
}
