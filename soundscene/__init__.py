"""soundscene: tell where a sound was recorded."""
