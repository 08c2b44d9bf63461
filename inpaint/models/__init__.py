"""The task's models; importing this package enters them in the table of `nunif.models`."""

from inpaint.models import memory_dstt

memory_dstt.register()
