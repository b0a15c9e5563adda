from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0011_adjustments"),
    ]

    operations = [
        migrations.AddField(
            model_name="accountstate",
            name="feed_gap_ms",
            field=models.PositiveIntegerField(default=0),
        ),
    ]
