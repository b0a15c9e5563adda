from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("execution", "0013_denied_signals"),
    ]

    operations = [
        migrations.AddField(
            model_name="bracket",
            name="is_stop_emulated",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="bracket",
            name="is_target_emulated",
            field=models.BooleanField(default=False),
        ),
    ]
