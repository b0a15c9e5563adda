"""What the demo promises of its first minute, measured on the demo as it is seeded."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import override_settings

from execution.models import Account
from execution.store.settings import desk_settings_from_rows
from tests.demo.minute import PHASES, first_minutes
from tradingdesk.management import demo

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def test_it_shows_a_bracket_armed_a_denial_by_a_limit_and_a_target_filled(tmp_path: Path) -> None:
    with override_settings(VAR_DIR=tmp_path):
        demo.demo_seed()
    account = Account.objects.get(code=demo.CRYPTO)
    seed = int(account.feed.partition(":")[2])
    minutes = list(first_minutes(desk_settings_from_rows(account), seed))
    assert len(minutes) == len(PHASES)
    assert all(seen.is_whole for seen in minutes), minutes
