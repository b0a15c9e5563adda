"""Numbers and checks in words."""

from __future__ import annotations

import pytest

from risk.core.verdict import Check, Reason
from risk.core.wording import WORDS, check_as_dict, describe, exact, number, pair
from tests.core.risk_builders import D


@pytest.mark.parametrize(
    ("value", "amount", "digits"),
    [
        ("146138", "146,138", "146,138"),
        ("146138.449", "146,138.45", "146,138.449"),
        ("1.08523", "1.09", "1.08523"),
        ("10.00", "10", "10"),
        ("0.0050002", "0.005", "0.0050002"),
        ("0.000000123456", "0.0000001235", "0.000000123456"),
        ("-50", "-50", "-50"),
        ("0E+3", "0", "0"),
        ("-0", "0", "0"),
        ("1E+5", "100,000", "100,000"),
        ("1E+40", "1.000E+40", "1.000E+40"),
        ("1E-40", "1.000E-40", "1.000E-40"),
        ("NaN", "not a number", "not a number"),
        ("sNaN", "not a number", "not a number"),
        ("Infinity", "infinite", "infinite"),
        ("-Infinity", "minus infinite", "minus infinite"),
    ],
)
def test_it_writes_numbers_for_people(value: str, amount: str, digits: str) -> None:
    assert (number(D(value)), exact(D(value))) == (amount, digits)


def test_it_writes_nothing_for_no_number() -> None:
    assert number(None) == exact(None) == ""


def test_it_never_writes_two_different_numbers_alike() -> None:
    assert pair(D("140000.001"), D(140000)) == ("140,000.001", "140,000")
    assert pair(D("140000.5"), D(140000)) == ("140,000.5", "140,000")


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (
            Check("Gross exposure", True, D(126138), D(140000), "account limits"),
            "Gross exposure would reach 126,138; the limit is 140,000.",
        ),
        (Check("Order notional", True, D(10), D("Infinity"), "profile demo"), "The order is worth 10; there is no limit."),
        (Check("Price age", True, D(12), D(2000), "profile demo"), "The price is 12 ms old; the limit is 2,000 ms."),
        (Check("Size", True, D("1.23456"), D(50), "profile demo"), "Sized to 1.23456; the limit is 50."),
        (Check("Halts", False, detail="Halted.", reason=Reason.HALTED), "Halted."),
    ],
)
def test_it_describes_a_check(check: Check, sentence: str) -> None:
    assert describe(check) == sentence


def test_it_gives_a_row_what_it_keeps() -> None:
    check = Check("Daily loss", False, D(3), D(3), "account limits", "Too much.", Reason.DAILY_LOSS)
    assert check_as_dict(check) == {
        "gate": "Daily loss",
        "is_passed": False,
        "observed": "3 %",
        "limit": "3 %",
        "level": "account limits",
        "detail": "Too much.",
        "reason": "DAILY_LOSS",
    }


def test_it_calls_a_limit_a_person_chose_not_to_have_by_its_name() -> None:
    row = check_as_dict(Check("Order notional", True, D(10), D("Infinity"), "profile demo"))
    assert (row["observed"], row["limit"]) == ("10", "no limit")


@pytest.mark.parametrize("gate", list(WORDS))
def test_it_has_a_full_sentence_for_every_check(gate: str) -> None:
    sentence = describe(Check(gate, True, D(1), D(2), "somewhere"))
    assert sentence[0].isupper() or sentence[0].isdigit()
    assert sentence.endswith(".")
