"""The log: one line a record, for people or for machines, with the ids it is about and nothing that is secret."""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import structlog

from tradingdesk.log_lines import formatter


def logged(work: Any, *, is_json: bool) -> list[str]:
    """What `work` writes to a logger of its own, as a process called `engine` would."""
    out = StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter(process="engine", is_json=is_json))
    logger = logging.getLogger("tests.logs")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    work(structlog.get_logger("tests.logs"))
    return out.getvalue().splitlines()


def send(log: Any) -> None:
    log.warning("the outcome of a send is unknown", account_id=7, cl_ord_id="pc0y43m00000101", qty=Decimal("0.10"))


def test_it_tells_machines_the_ids() -> None:
    (line,) = logged(send, is_json=True)
    told = json.loads(line)
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "process": "engine",
        "level": "warning",
        "logger": "tests.logs",
        "event": "the outcome of a send is unknown",
        "account_id": 7,
        "cl_ord_id": "pc0y43m00000101",
        "qty": "0.10",
    }


def test_it_tells_people_the_same_in_one_line() -> None:
    (line,) = logged(send, is_json=False)
    assert line.split(" ", 1)[1] == (
        "engine WARNING tests.logs: the outcome of a send is unknown account_id=7 cl_ord_id=pc0y43m00000101 qty=0.10"
    )


def test_it_names_the_account_of_everything_a_task_does() -> None:
    async def account(log: Any, number: int) -> None:
        structlog.contextvars.bind_contextvars(account_id=number)
        await asyncio.sleep(0)
        await asyncio.create_task(leg(log, f"leg-{number}"))

    async def leg(log: Any, cl_ord_id: str) -> None:
        log.info("sent", cl_ord_id=cl_ord_id)

    async def both(log: Any) -> None:
        await asyncio.gather(*(asyncio.create_task(account(log, number)) for number in (1, 2)))
        log.info("over")

    lines = [json.loads(line) for line in logged(lambda log: asyncio.run(both(log)), is_json=True)]
    assert [(line.get("account_id"), line.get("cl_ord_id")) for line in lines] == [(1, "leg-1"), (2, "leg-2"), (None, None)]


@pytest.mark.parametrize("is_json", [True, False])
def test_it_keeps_locals_and_objects_to_itself(is_json: bool) -> None:
    def fail(log: Any) -> None:
        password = "hush" + "-hush"
        try:
            raise ValueError("the venue refused " + str(len(password)))
        except ValueError:
            log.exception("signing in failed", request={"password": password})

    words = "\n".join(logged(fail, is_json=is_json))
    assert "the venue refused 9" in words
    assert "hush-hush" not in words
