"""Files in: sources, formats, type detection, loading."""
