"""The task's models; importing this package enters them in the table of `nunif.models`."""

from inpaint.models import dstt, fusion, light_video_inpaint, memory_dstt, picture_memory

memory_dstt.register()
light_video_inpaint.register()
dstt.register()
fusion.register()
picture_memory.register()
